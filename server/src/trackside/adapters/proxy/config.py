"""HAProxy's whole configuration and its maps, as texts made from options and from what is to be served. Pure.

A host leads to a service instance (`hosts.map`), that to a slot or a page (`targets.map`): so a swap is one `set map`,
however many hosts there are. Slots are backends declared beforehand, for HAProxy 2.6 can add servers but no backends.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from trackside.adapters.proxy import pages
from trackside.adapters.proxy.access import CAPTURES, HOST_CAPTURED, LOG_FORMAT, LONGEST_REQUEST_LINE
from trackside.adapters.proxy.options import HAProxyOptions, Limits
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Backend, Page, Protocol, Route, Server
from trackside.rooms.networking.ports import Served

HOSTS, TARGETS, DEPLOYMENTS = "maps/hosts.map", "maps/targets.map", "maps/deployments.map"
LOG_DESCRIPTOR = 3
"""The descriptor of the access log that the launcher leaves open for HAProxy."""
FIRST_SLOT_ID = 1000
"""HAProxy's number of slot 0; the others follow."""

# A dead replica's address stops answering: two failed connects, half a second apart, take it out before the prober
# does.
CHECK = "check inter 2s fastinter 500ms downinter 1s fall 2 rise 1"
# Apps close idle connections after 2 s (gunicorn), 5 s (Node, uvicorn) or more. Ours are gone before, so that no
# request meets a connection that is just closing.
# HAProxy keeps none at all to a server that was added at run time, unless it is told how many.
KEPT = "pool-max-conn -1 pool-purge-delay 1s"
HOST = re.compile(r"[a-z0-9*_](?:[a-z0-9._*-]{0,252})")


@dataclass(frozen=True)
class Entry:
    """A server's words in HAProxy's language, for a line of the configuration and for `add server` alike."""

    name: str  # the replica's id
    address: str  # address:port
    settings: str


def slot_name(slot: int) -> str:
    """The backend's name of a slot."""
    return f"slot-{slot:04d}"


def slot_number(name: str) -> int | None:
    """The slot of a backend's name; None for other backends."""
    return int(name[5:]) if name.startswith("slot-") and name[5:].isdigit() else None


def target_name(target: int | Page) -> str:
    """The backend that a route's target names."""
    return slot_name(target) if isinstance(target, int) else f"page-{target}"


def entry(server: Server, protocol: Protocol) -> Entry:
    """How HAProxy is told of a replica."""
    spoken = "proto h2 " if protocol is Protocol.H2C else ""
    return Entry(str(server.replica_id), f"{server.address}:{server.port}", f"{spoken}{KEPT} {CHECK}")


def hosts_map(routes: Iterable[Route]) -> dict[str, str]:
    """Host → service instance.

    Errors: `ProxyUnavailable` for what can be no host, before it reaches HAProxy's language.
    """
    wanted = {host.lower(): str(route.service_instance_id) for route in routes for host in route.hosts}
    for host in wanted:
        if not HOST.fullmatch(host):
            raise ProxyUnavailable(f"{host!r} can't be a host name.")
    return wanted


def targets_map(routes: Iterable[Route]) -> dict[str, str]:
    """Service instance → backend."""
    return {str(route.service_instance_id): target_name(route.target) for route in routes}


def deployments_map(backends: Iterable[Backend]) -> dict[str, str]:
    """Backend → deployment, for the access log."""
    return {slot_name(backend.slot): str(backend.deployment_id) for backend in backends}


def map_text(entries: Mapping[str, str]) -> str:
    """A map file."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def files(options: HAProxyOptions, served: Served, slots: int, *, is_open: bool = True) -> dict[str, str]:
    """Every file of HAProxy's by name, relative to its directory."""
    texts = {
        HOSTS: map_text(hosts_map(served.state.routes)),
        TARGETS: map_text(targets_map(served.state.routes)),
        DEPLOYMENTS: map_text(deployments_map(served.state.backends)),
        options.config_file.name: config(options, served, slots, is_open=is_open),
    }
    return texts | {f"pages/{name}": text for name, text in pages.files().items()}


def config(options: HAProxyOptions, served: Served, slots: int, *, is_open: bool = True) -> str:
    """The whole configuration, with every server of `served` in its slot. Unless `is_open`, no client can reach it."""
    backends = {backend.slot: backend for backend in served.state.backends}
    bind = f"bind {options.host}:{options.port}" if is_open else f'bind "unix@{options.closed_socket}" mode 600'
    parts = [_global(options, is_open), _defaults(options.limits), _frontend(options, bind), *_page_backends()]
    parts += [_slot(slot, backends.get(slot), served.ready.get(slot, frozenset())) for slot in range(slots)]
    return "\n".join(parts)


def _global(options: HAProxyOptions, is_open: bool) -> str:
    lines = [
        f'default-path origin "{options.directory}"',
        f'stats socket "{options.runtime_socket}" mode 600 level admin',
        "stats timeout 1m",
        f"log fd@{LOG_DESCRIPTOR} len 4096 format raw local0",
        f"maxconn {options.connections}",
        f"nbthread {options.threads}",
        f"tune.bufsize {options.limits.header_bytes + 1024}",
        f"tune.http.maxhdr {options.limits.headers}",
        f"tune.http.logurilen {LONGEST_REQUEST_LINE}",
        # Requests wait for their app, not for each other: an old process leaves when its last connection does.
        "hard-stop-after 1h",
        "set-var proc.logged int(0)",
        f"set-var proc.open int({int(is_open)})",
    ]
    if options.user:
        lines += [f"user {options.user}", f"group {options.user}", f'chroot "{options.directory / "empty"}"']
    return _section("global", lines)


def _defaults(limits: Limits) -> str:
    return _section(
        "defaults",
        [
            "mode http",
            "balance leastconn",
            "http-reuse safe",
            # Parts of an answer are sent on as they come: events and streams would wait 0.2 s for company.
            "option http-no-delay",
            # A peer that vanished without a word (its network is gone) is noticed in 20 s, however long it may be silent.
            *_keepalive("srv"),
            *_keepalive("cli"),
            "retries 3",
            "option redispatch 1",
            "retry-on conn-failure empty-response",
            # At a reload a kept connection gets one more answer, with `Connection: close`, instead of a bare end.
            "option idle-close-on-response",
            "option http-ignore-probes",
            f"timeout http-request {_ms(limits.header_seconds)}",
            f"timeout http-keep-alive {_ms(limits.idle_seconds)}",
            f"timeout client {_ms(limits.client_seconds)}",
            "timeout client-fin 30s",
            f"timeout connect {_ms(limits.connect_seconds)}",
            "timeout check 1s",
            "timeout queue 10s",
            f"timeout server {_ms(limits.server_seconds)}",
            "timeout server-fin 30s",
            f"timeout tunnel {_ms(limits.tunnel_seconds)}",
            *(_failure(page) for page in pages.FAILURES),
        ],
    )


def _keepalive(side: str) -> list[str]:
    return [f"option {side}tcpka", f"{side}tcpka-idle 5s", f"{side}tcpka-intvl 5s", f"{side}tcpka-cnt 3"]


def _failure(page: pages.ErrorPage) -> str:
    """HAProxy's own errors are static per backend; this one is put together for each request from two maps."""
    text = (
        f"%[var(txn.wants,html),map(pages/{page.status}-before.map)]{pages.REQUEST_ID}"
        f"%[var(txn.wants,html),map(pages/{page.status}-after.map)]"
    )
    return (
        f'http-error status {page.status} content-type "text/html; charset=utf-8" lf-string "{text}" '
        f"hdr cache-control no-store hdr x-edge-page 1{_retry(page)}"
    )


def _retry(page: pages.ErrorPage) -> str:
    return f" hdr retry-after {page.retry_seconds}" if page.retry_seconds else ""


def _frontend(options: HAProxyOptions, bind: str) -> str:
    limits = options.limits
    failed = f"{{ status {' '.join(str(page.status) for page in pages.FAILURES)} }}"
    return _section(
        "frontend edge",
        [
            bind,
            # Here alone: in a backend it would write of servers that come and go, too.
            "log global",
            f"maxconn {options.connections}",
            "unique-id-format %[uuid()]",
            *_request_identity(),
            *_request_captures(),
            *_request_log(limits),
            *_request_route(),
            *_request_hops(),
            *_request_headers(options.port),
            # Once it was sent, a request that is not idempotent is never sent again. To be able to, HAProxy copies each
            # request: under a flood that would be a quarter of all that it does.
            "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"
            f" !{{ fe_req_rate gt {limits.resent_rate} }}",
            f"http-response del-header x-edge-page if {failed}",
            f"http-after-response set-header x-request-id {pages.REQUEST_ID}",
            "http-after-response set-header content-type application/json"
            f" if {failed} {{ res.hdr(x-edge-page) -m found }} {{ var(txn.wants) json }}",
            f"http-after-response del-header x-edge-page if {failed}",
            f"log-format {_quoted(LOG_FORMAT)}",
            f"use_backend page-loop if {{ var(txn.hops) -m int ge {limits.hops} }}",
            "use_backend %[var(txn.target)] if { var(txn.instance) -m found }",
            "default_backend page-missing",
        ],
    )


def _request_identity() -> list[str]:
    """The request's id: the client's where it is a sane one. And what the client takes for an answer of ours."""
    return [
        "http-request set-header x-request-id %[unique-id] unless { req.fhdr_cnt(x-request-id) eq 1 }"
        " { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{8,128}$ }",
        "http-request set-var(txn.wants) str(json)"
        " if { req.fhdr(accept) -m sub json } !{ req.fhdr(accept) -m sub text/html }",
    ]


def _request_captures() -> list[str]:
    """What is needed of the request when it is gone, of bounded length: captures, for variables take more of the processor."""
    return [f"http-request capture {expression} len {length}" for expression, length in CAPTURES]


def _request_log(limits: Limits) -> list[str]:
    """A bound to what waits for the access log's reader."""
    return [
        "http-request set-var(proc.logged) var(proc.logged),add(1)",
        f"http-request set-log-level silent if {{ var(proc.logged) -m int gt {limits.logged_backlog} }}",
    ]


def _request_route() -> list[str]:
    return [
        f"http-request set-var(txn.instance) {HOST_CAPTURED},map({HOSTS})",
        f"http-request set-var(txn.target) var(txn.instance),map({TARGETS},page-stopped)",
        f"http-request set-var(txn.deployment) var(txn.target),map({DEPLOYMENTS})",
    ]


def _request_hops() -> list[str]:
    """How often this edge has seen the request before: an app that passes requests on to its own address would keep it busy with a
    single one for ever. A number, for who passes headers on may keep only one of several of a name.
    """
    return [
        "http-request set-var(txn.hops) req.fhdr(x-trackside-hops)",
        "http-request set-header x-trackside-hops %[var(txn.hops,0),add(1)]",
    ]


def _request_headers(port: int) -> list[str]:
    """What the app is told of the client. What the client itself says of it is dropped: anybody can write a header."""
    return [
        "http-request del-header forwarded",
        "http-request del-header x-forwarded- -m beg",
        "http-request set-header x-real-ip %[src]",
        "http-request add-header x-forwarded-for %[req.fhdr(x-real-ip)]",
        "http-request add-header x-forwarded-proto http",
        "http-request add-header x-forwarded-host %[req.hdr(host)]",
        f"http-request add-header x-forwarded-port {port}",
    ]


def _page_backends() -> list[str]:
    return [
        _section(f"backend page-{name}", [*(_shown_host() if page is pages.MISSING else ()), *_answer(name, page)])
        for name, page in pages.named().items()
    ]


def _shown_host() -> list[str]:
    """The name that was asked for, where it is one: nothing that a client wrote gets into a page otherwise."""
    return [
        'http-request set-var(txn.shown_host) str("that you asked for")',
        f"http-request set-var(txn.shown_host) {HOST_CAPTURED} if {{ {HOST_CAPTURED} -m reg ^[a-z0-9._-]{{1,253}}$ }}",
    ]


def _answer(name: str, page: pages.ErrorPage) -> list[str]:
    """Answer with a page of ours, JSON to those who ask for it."""
    common = f"hdr cache-control no-store{_retry(page)}"
    start = f"http-request return status {page.status} content-type"
    return [
        f"{start} application/json lf-file pages/{name}.json {common} if {{ var(txn.wants) json }}",
        f'{start} "text/html; charset=utf-8" lf-file pages/{name}.html {common}',
    ]


def _slot(slot: int, backend: Backend | None, ready: frozenset[UUID]) -> str:
    lines = [f"id {FIRST_SLOT_ID + slot}"]
    for server in backend.servers if backend else ():
        words = entry(server, backend.protocol) if backend else None
        if words:
            closed = "" if server.replica_id in ready and not server.is_leaving else " disabled"
            lines.append(f"server {words.name} {words.address} {words.settings}{closed}")
    return _section(f"backend {slot_name(slot)}", lines)


def _section(head: str, lines: Iterable[str]) -> str:
    return "\n".join([head, *(f"    {line}" for line in lines), ""])


def _ms(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _quoted(text: str) -> str:
    """A value in HAProxy's strong quotes, in which nothing is special."""
    return f"'{text}'"
