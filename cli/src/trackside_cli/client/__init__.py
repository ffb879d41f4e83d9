"""The client of REST `/v1`: the only HTTP of the command line. It prints nothing and decides nothing."""

from trackside_cli.client.api import Api, EventQuery, LogQuery

__all__ = ["Api", "EventQuery", "LogQuery"]
