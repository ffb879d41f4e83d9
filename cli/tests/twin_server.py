"""The twin's HTTP: the endpoints of the contract over a `Platform`, and a server that can be stopped and started."""

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from twin import TOKEN, Json, Platform, Refused, merged

Answer = tuple[int, Json | None]
Endpoint = Callable[[Platform, list[str], Json, dict[str, str]], Answer]


def me(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, {"id": "a1", "kind": "token", "name": "Ada", "workspace": {"id": "w1", "name": "default"}}


def list_projects(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, {"projects": [one for one in platform.projects if query.get("name", one["name"]) == one["name"]]}


def create_project(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    if any(one["name"] == body["name"] for one in platform.projects):
        raise Refused("conflict", f"There is a project {body['name']} already.", "projects.name_taken")
    return 201, platform.a_project(body["name"])


def get_project(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, platform.find(platform.projects, ids[0])


def delete_project(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> Answer:
    platform.projects.remove(platform.find(platform.projects, ids[0]))
    return 202, None


def create_environment(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 201, platform.an_environment(platform.find(platform.projects, ids[0]), body["name"])


def delete_environment(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    for project in platform.projects:
        project["environments"] = [one for one in project["environments"] if one["id"] != ids[0]]
    return 202, {}


def create_service(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 201, platform.a_service(platform.find(platform.projects, ids[0]), body["name"])


def delete_service(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    for project in platform.projects:
        project["services"] = [one for one in project["services"] if one["id"] != ids[0]]
    return 202, {}


def create_deployment(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    instance = platform.find(platform.instances(), ids[0])
    return 202, platform.a_deployment(instance, source=body.get("source") or {"kind": "before"})


def list_deployments(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    found = [one for one in platform.deployments.values() if one["service_instance_id"] == ids[0]]
    return 200, {"deployments": found[::-1][: int(query.get("limit", "20"))]}


def get_deployment(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, platform.read(ids[0])


def repeat(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    before = platform.find(list(platform.deployments.values()), ids[0])
    instance = platform.find(platform.instances(), before["service_instance_id"])
    return 202, platform.a_deployment(
        instance, source=before["source"], rollback_of=ids[0] if ids[1] == "rollback" else None
    )


def cancel(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    deployment = platform.find(list(platform.deployments.values()), ids[0])
    platform.courses[ids[0]] = []
    return 202, deployment | {"status": "REMOVED"}


def get_logs(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    after, limit = int(query.get("after", "0")), int(query.get("limit", "1000"))
    lines = [line for line in platform.lines.get((ids[0], query["kind"]), []) if line["seq"] > after]
    lines = [line for line in lines if line["at"] >= query.get("since", "")]
    return 200, {"lines": lines[-limit:] if query.get("newest") == "true" else lines[:limit]}


def get_explanation(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    platform.find(list(platform.deployments.values()), ids[0])
    return 200, platform.explanations[ids[0]]


def chosen_events(platform: Platform, query: dict[str, str]) -> list[Json]:
    """Those after the cursor that fit; of several types the twin knows the first."""
    places = [name for name in ("project_id", "environment_id", "service_id") if name in query]
    return [
        one
        for one in platform.events
        if one["seq"] > int(query.get("after", "0"))
        and one["at"] >= query.get("since", "")
        and one["type"] == query.get("type", one["type"])
        and all(one["place"].get(name) == query[name] for name in places)
    ]


def list_events(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    found, limit = chosen_events(platform, query), int(query["limit"])
    page = found[-limit:] if query.get("newest") == "true" else found[:limit]
    is_whole = len(page) == len(found) or query.get("newest") == "true"
    return 200, {"events": page, "cursor": len(platform.events) if is_whole else page[-1]["seq"]}


def list_variables(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    is_open = query.get("reveal") == "true"
    shown = {name: value for name, value in platform.variables.items() if is_open and name not in platform.sealed}
    return 200, {"variables": [{"name": name, "value": shown.get(name)} for name in platform.variables]}


def change_variables(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    changed: list[str] = []
    for name, value in body["variables"].items():
        if value is None and platform.variables.pop(name, None) is not None:
            changed.append(name)
        elif value is not None:
            platform.variables[name] = value
            changed.append(name)
    is_deployed = changed and not body["skip_deploy"]
    deployment = platform.a_deployment(platform.find(platform.instances(), ids[0])) if is_deployed else None
    return 202, {"deployment": deployment, "changed": sorted(changed)}


def get_schema(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, json.loads((Path(__file__).parents[2] / "contract" / "openapi.json").read_text())


def get_config(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, platform.config(ids[0])


def change_config(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    before = platform.config(ids[0])["config"]
    if merged(before, body["patch"]) != before:
        platform.configs.setdefault(ids[0], []).append(body)
    return 200, platform.config(ids[0])


def tell_instance(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    instance = platform.find(platform.instances(), ids[0])
    if ids[1] == "scale":
        instance["replicas"]["wanted"] = 0 if instance["id"] in platform.runs_nothing else body["replicas"]
    if ids[1] == "down":
        instance["active_deployment"] = None
    latest = instance["latest_deployment"]
    is_under_way = ids[1] == "restart" and latest and latest["status"] == "BUILDING"
    return 202, {**instance, "superseded": [latest["id"]] if is_under_way else []}


def build_queue(platform: Platform, ids: list[str], body: Json, query: dict[str, str]) -> tuple[int, Json]:
    return 200, platform.queue


ID = r"([^/]+)"
ROUTES: list[tuple[str, str, Endpoint]] = [
    ("GET", "/v1/me", me),
    ("GET", "/v1/projects", list_projects),
    ("POST", "/v1/projects", create_project),
    ("GET", f"/v1/projects/{ID}", get_project),
    ("DELETE", f"/v1/projects/{ID}", delete_project),
    ("POST", f"/v1/projects/{ID}/environments", create_environment),
    ("DELETE", f"/v1/environments/{ID}", delete_environment),
    ("POST", f"/v1/projects/{ID}/services", create_service),
    ("DELETE", f"/v1/services/{ID}", delete_service),
    ("POST", f"/v1/service-instances/{ID}/deployments", create_deployment),
    ("GET", f"/v1/service-instances/{ID}/deployments", list_deployments),
    ("GET", f"/v1/service-instances/{ID}/variables", list_variables),
    ("PATCH", f"/v1/service-instances/{ID}/variables", change_variables),
    ("POST", f"/v1/service-instances/{ID}/(scale|restart|down)", tell_instance),
    ("GET", "/v1/schema", get_schema),
    ("GET", f"/v1/environments/{ID}/config", get_config),
    ("PATCH", f"/v1/environments/{ID}/config", change_config),
    ("GET", "/v1/builds/queue", build_queue),
    ("GET", f"/v1/deployments/{ID}", get_deployment),
    ("POST", f"/v1/deployments/{ID}/(rollback|redeploy)", repeat),
    ("POST", f"/v1/deployments/{ID}/(cancel)", cancel),
    ("GET", f"/v1/deployments/{ID}/logs", get_logs),
    ("GET", f"/v1/deployments/{ID}/explanation", get_explanation),
    ("GET", "/v1/events", list_events),
]


class Handler(BaseHTTPRequestHandler):
    """HTTP around the endpoints."""

    protocol_version = "HTTP/1.1"
    platform: Platform
    connections: set[socket.socket]

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        self.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Silence: tests look at `Platform.requests`."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            self._admit(path)
            if self.platform.on_request:
                self.platform.on_request(path)
            if upload := re.fullmatch(f"/v1/service-instances/{ID}/uploads", path):
                self._take_upload(upload[1])
            elif query.get("follow") == "true":
                self._follow(lambda: self._followed(path, query))
            else:
                self._answer(*self._dispatch(method, path, query))
        except Refused as refusal:
            told = {
                "code": refusal.code,
                "kind": refusal.kind,
                "message": str(refusal),
                "hint": refusal.hint,
                "request_id": "r1",
            }
            self._answer(refusal.status, {"error": told})

    def _admit(self, path: str) -> None:
        for ending, refusals in self.platform.refusals.items():
            if path.endswith(ending) and refusals:
                raise refusals.pop(0)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused("unauthenticated", "The token is not valid.", "identity.token_invalid", "Make a new one.")

    def _dispatch(self, method: str, path: str, query: dict[str, str]) -> Answer:
        body: Json = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.platform.requests.append((method, path, body | query))
        for verb, pattern, endpoint in ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                return endpoint(self.platform, list(found.groups()), body, query)
        raise Refused("missing", f"There is nothing at {path}.")

    def _answer(self, status: int, body: Json | None) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Trackside-Version", self.platform.version)
        self.send_header("X-Request-Id", "r1")
        if status >= 400:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def _take_upload(self, instance_id: str) -> None:
        self.platform.find(self.platform.instances(), instance_id)
        content = bytearray()
        while size := int(self.rfile.readline().strip(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        upload_id = str(uuid4())
        self.platform.uploads[upload_id] = bytes(content)
        self._answer(201, {"upload_id": upload_id, "sha256": "0" * 64, "size_bytes": len(content)})

    def _followed(self, path: str, query: dict[str, str]) -> list[Json]:
        if path == "/v1/events":
            return chosen_events(self.platform, query)
        lines = self.platform.lines.get((path.split("/")[3], query["kind"]), [])
        return [one for one in lines if one["seq"] > int(query.get("after", "0"))]

    def _follow(self, find: Callable[[], list[Json]]) -> None:
        self.platform.requests.append(("FOLLOW", self.path, {}))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Trackside-Version", self.platform.version)
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        cut = self.platform.cuts.pop(0) if self.platform.cuts else None
        lines = find()
        self.wfile.write(b"\n")
        for line in lines[:cut]:
            self.wfile.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        if cut is not None and cut < len(lines):
            self.wfile.write(b'{"seq": 99, "mess')  # a restart breaks off anywhere
        if self.platform.during_follow:
            self.platform.during_follow()


class Twin:
    """The running server. It can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.platform = Platform()
        self._port = 0
        self._connections: set[socket.socket] = set()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        handler = type("BoundHandler", (Handler,), {"platform": self.platform, "connections": self._connections})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
