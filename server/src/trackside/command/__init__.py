"""The commands of the host: `trackside server …`, `trackside admin …`, and what the supervisor runs.

Each command parses, calls bootstrap or the machine, and prints; deciding is left to those.
"""
