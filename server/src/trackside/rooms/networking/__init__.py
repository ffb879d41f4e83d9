"""Networking: which host name leads to which replicas, and how names resolve inside an environment.

Words: host (a public name), route (service instance → target), backend (a deployment's replicas at the edge, in a slot),
slot (a pre-declared place for a backend), network (an environment's private subnet). The edge process keeps the proxy equal
to what is stored here, and stores what it sees.
"""
