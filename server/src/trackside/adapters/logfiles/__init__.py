"""Logs in segment files: one directory per stream, lines as NDJSON, closed segments compressed."""
