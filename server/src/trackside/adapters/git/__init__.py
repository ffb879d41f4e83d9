"""Git repositories, fetched by the `git` program without trust in what they hold: the port `Sources`."""
