"""The machine: everything that sets up, starts, watches and stops the platform on one host.

It knows the kit and plain values only: bootstrap reads the settings and passes them in pieces. Each part (PostgreSQL, the
engines, the firewall, the supervisor) takes explicit paths, so that it can be started alone, in a directory of its own.

What is decided (addresses, rules, config files, command lines) is in pure files; the others only carry it out.
"""
