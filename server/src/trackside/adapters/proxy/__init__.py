"""HAProxy at the edge: its configuration as a pure text, its runtime API, its cold start, and its access log.

`config`, `pages` and `access` decide; `files`, `launch`, `runtime`, `haproxy` and `access_log` act.
"""
