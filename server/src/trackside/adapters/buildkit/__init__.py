"""BuildKit of an engine of our own, driven through the `docker` program: the port `Builder`."""
