"""Trackside's command line: asks the REST API and shows what it answers. It knows nothing of the server's insides."""
