"""Audit: what was done in a workspace, when, and by whom. It reads the workspace's event stream and tells it in sentences.

Words: event, actor, place (the project, environment and service an event is about). It keeps nothing of its own.
"""
