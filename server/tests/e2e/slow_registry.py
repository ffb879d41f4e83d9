"""A registry on loopback that offers one image and never comes to the end of its layer."""

import hashlib
import json
import threading
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

LAYER_BYTES = 64 << 20


class SlowRegistry:
    """`begun` once a layer is being sent; `gone` once its reader has gone away."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gone = threading.Event()
        self.ended = threading.Event()
        self._config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        )

    def __enter__(self) -> "SlowRegistry":
        registry = self

        class Handler(_Handler):
            owner = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}/slow:1"

    @property
    def config(self) -> bytes:
        return self._config.encode()

    @cached_property
    def manifest(self) -> bytes:
        docker = "application/vnd.docker"
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{docker}.distribution.manifest.v2+json",
                "config": {
                    "mediaType": f"{docker}.container.image.v1+json",
                    "size": len(self.config),
                    "digest": digest(self.config),
                },
                "layers": [
                    {
                        "mediaType": f"{docker}.image.rootfs.diff.tar.gzip",
                        "size": LAYER_BYTES,
                        "digest": digest(uuid4().bytes),  # an engine would go on with one it knows
                    }
                ],
            }
        ).encode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    owner: SlowRegistry

    def log_message(self, format: str, *arguments: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        registry = self.owner
        if "/manifests/" in self.path:
            self._reply(registry.manifest, json.loads(registry.manifest)["mediaType"])
        elif self.path.endswith(digest(registry.config)):
            self._reply(registry.config)
        elif "/blobs/" in self.path:
            self._drip()
        else:
            self._reply(b"{}")

    def _reply(self, body: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Docker-Content-Digest": digest(body),
            "Docker-Distribution-Api-Version": "registry/2.0",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _drip(self) -> None:
        """A byte now and then, until the reader goes or the test ends."""
        self.send_response(200)
        self.send_header("Content-Length", str(LAYER_BYTES))
        self.end_headers()
        self.owner.begun.set()
        try:
            while not self.owner.ended.wait(0.05):
                self.wfile.write(b"\0")
        except OSError:
            self.owner.gone.set()
