"""Projects: what is wanted. Projects, environments, services, and the one configuration document per environment.

Words: project, environment, service, service instance, environment config (versions of it, made by patches), variable,
secret version. Nothing here knows whether anything runs.
"""
