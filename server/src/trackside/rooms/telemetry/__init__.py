"""Telemetry: what apps, builds and the edge say. For now: logs, kept apart from the containers that wrote them.

Words: stream (the log of one thing), line, segment (a file of lines).
"""
