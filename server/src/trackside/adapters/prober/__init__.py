"""Asks replicas whether they are well: over HTTP/1.1, HTTP/2 without TLS, or by a TCP connection alone."""
