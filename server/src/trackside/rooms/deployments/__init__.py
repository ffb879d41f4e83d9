"""Deployments: one immutable attempt after the other to make a service instance run what is wanted.

Words: deployment, step, replica, workload (what the runtime is told to run), converge. The planner is pure; the executor has
no opinions; the runtime is a port.
"""
