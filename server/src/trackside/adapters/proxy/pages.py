"""The edge's own answers: error pages that name the cause, for people (HTML) and for programs (JSON). Pure.

Texts are HAProxy log-formats: `%[…]` is filled in for each request, a plain percent sign is doubled.
"""

from dataclasses import dataclass

from trackside.adapters.proxy.access import REQUEST_ID_CAPTURED
from trackside.rooms.networking.model import Page

REQUEST_ID = f"%[{REQUEST_ID_CAPTURED}]"
HOST = "%[var(txn.shown_host)]"


@dataclass(frozen=True)
class ErrorPage:
    """One answer of the edge: what happened, and what mends it."""

    status: int
    code: str
    title: str
    sentence: str
    hint: str
    retry_seconds: int = 0  # Retry-After; 0 = none


MISSING = ErrorPage(
    404,
    "edge.no_such_app",
    "No such app",
    f"No app is served here under the name {HOST}.",
    "Look at the address again; `trackside status` lists the addresses of your apps.",
)
LOOP = ErrorPage(
    508,
    "edge.loop",
    "The app calls itself",
    "This request passed the edge too many times: the app behind it sends it back here.",
    "Let the app call other services by their private names instead of by its own address.",
)
PAGES: dict[Page, ErrorPage] = {
    Page.STARTING: ErrorPage(
        503,
        "edge.app_starting",
        "The app is starting",
        "The app's first deployment is on its way.",
        "Try again in a few seconds.",
        5,
    ),
    Page.CRASHED: ErrorPage(
        503,
        "edge.app_crashed",
        "The app has crashed",
        "The app ended and was restarted as often as its restart policy allows.",
        "If it is yours, read its log with `trackside logs` and deploy a version that stays up.",
    ),
    Page.STOPPED: ErrorPage(
        503,
        "edge.app_stopped",
        "No version of the app runs",
        "This app has no active deployment: it was taken down, or none has succeeded yet.",
        "If it is yours, `trackside deployments` shows how the last one ended; `trackside up` or `trackside redeploy` deploys it.",
    ),
}
FAILURES: tuple[ErrorPage, ...] = (
    ErrorPage(
        502,
        "edge.app_broke_off",
        "The app gave no answer",
        "The app closed the connection without a valid answer.",
        "If it is yours, `trackside logs` shows what it said at this moment.",
    ),
    ErrorPage(
        503,
        "edge.app_unreachable",
        "The app can't be reached",
        "None of the app's replicas takes requests at the moment.",
        "Try again in a few seconds; if it is yours, see `trackside status` and `trackside logs`.",
        5,
    ),
    ErrorPage(
        504,
        "edge.app_timeout",
        "The app took too long",
        "The app did not answer in the time that the edge waits.",
        "If it is yours, let it answer sooner, or stream its answer.",
    ),
)

STYLE = (
    "body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif;"
    "background:#f6f5f2;color:#1f2328}main{max-width:34rem;padding:2rem}h1{font-size:1.5rem;margin:0 0 .5rem}"
    "p{margin:.5rem 0}small{color:#6b7280}"
    "@media(prefers-color-scheme:dark){body{background:#17191c;color:#e6e6e3}small{color:#9aa0a6}}"
)


def html(page: ErrorPage) -> str:
    """The page for people, in one line: the value of a HAProxy map may hold no line break."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{page.title}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{page.title}</h1><p>{page.sentence}</p><p>{_code(page.hint)}</p>"
        f"<p><small>{page.status} {page.code} &middot; request {REQUEST_ID}</small></p></main></body></html>"
    )


def _code(text: str) -> str:
    """Backticks turned into markup."""
    parts = text.split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def json(page: ErrorPage) -> str:
    """The answer for programs, shaped as the API's errors."""
    return (
        f'{{"error":{{"code":"{page.code}","kind":"{"missing" if page is MISSING else "unavailable"}",'
        f'"message":"{page.sentence}","hint":"{page.hint}","request_id":"{REQUEST_ID}"}}}}'
    )


def files() -> dict[str, str]:
    """Every page file by name, relative to the directory of pages."""
    texts: dict[str, str] = {}
    for name, page in named().items():
        texts[f"{name}.html"] = html(page)
        texts[f"{name}.json"] = json(page)
    for page in FAILURES:
        texts |= _failure_files(page)
    return texts


def named() -> dict[str, ErrorPage]:
    """Pages that a route or the edge itself leads to, by name."""
    return {"missing": MISSING, "loop": LOOP} | {str(page): text for page, text in PAGES.items()}


def _failure_files(page: ErrorPage) -> dict[str, str]:
    """HAProxy's own errors have one body each: it picks the text by what the client asked for, from two-line maps.

    A map's value is not a log-format: hence one map for the text before the request id, and one for the text after it.
    """
    before_html, after_html = html(page).split(REQUEST_ID)
    before_json, after_json = json(page).split(REQUEST_ID)
    return {
        f"{page.status}-before.map": f"html {before_html}\njson {before_json}\n",
        f"{page.status}-after.map": f"html {after_html}\njson {after_json}\n",
    }
