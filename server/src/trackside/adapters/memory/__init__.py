"""In-memory twins of the adapters: for development without an engine, and for tests of what stands on the ports."""
