"""Builds: how a source becomes an image.

Words: source, snapshot (a source fetched into a directory), build plan, image. A build knows nothing of deployments: it is
given a source by value and gives back an image.
"""
