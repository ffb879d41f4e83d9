"""Every route of the REST door, with what it takes to call it; for the tests that walk over all of them."""

from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute

from rest.client import IMAGE

BODIES: dict[str, dict[str, Any]] = {
    "create_environment": {"json": {"name": "staging"}},
    "create_service": {"json": {"name": "api"}},
    "create_project": {"json": {"name": "other"}},
    "patch_config": {"json": {"patch": {"a": 1}}},
    "request_deployment": {"json": {"source": IMAGE}},
    "scale": {"json": {"replicas": 2}},
    "change_variables": {"json": {"variables": {"A": "1"}}},
    "upload": {"content": b"archive"},
}


def routes(app: Litestar) -> list[tuple[str, str, str]]:
    """(method, path with the names of ids in braces, handler) of every route below /v1, the description excepted."""
    found: list[tuple[str, str, str]] = []
    for route in app.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith("/v1/schema"):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    found.append((str(method), route.path_format, handler.handler_name))
    return found


def address(path: str, deployment: dict[str, Any], instance: dict[str, Any]) -> str:
    """The path with real ids."""
    return path.format(**{**instance, "instance_id": instance["id"], "deployment_id": deployment["id"]})
