"""Watching a deployment until it is over: steps with their times, the build's lines, then the end as it was."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from trackside_cli import follow, moments, output, present, scope
from trackside_cli.client import Api, LogQuery
from trackside_cli.client.types import Deployment, LogLine, Place, Step
from trackside_cli.errors import CommandError, ExitCode
from trackside_cli.patience import Patience
from trackside_cli.scope import Target

OVER = frozenset({"SUCCESS", "FAILED", "CRASHED", "SKIPPED", "REMOVED", "SLEEPING"})
PAUSES = ((3.0, 0.1), (15.0, 0.25))  # until so many seconds have passed, ask this often; seconds
CALM_PAUSE = 1.0
LAST_LINES = 20
LONG_SECONDS = 10.0  # a step that takes longer says what it waits for
REMARKS = {
    "QUEUED": "Waiting for its turn.",
    "WAITING": "Waiting for what it depends on.",
    "NEEDS_APPROVAL": "Waiting for somebody's approval.",
    "REMOVING": "Being removed.",
}


class Watch:
    """Follows one deployment. `quiet` shows nothing (for `--json`); `now` counts seconds."""

    def __init__(
        self, api: Api, deployment: Deployment, *, quiet: bool, now: Callable[[], float] = moments.monotonic
    ) -> None:
        self._api = api
        self._deployment = deployment
        self._quiet = quiet
        self._patience = Patience(self._note)
        self._place: int | None = None
        self._now = now
        self._shown: set[tuple[str, str]] = set()
        self._begun: dict[str, float] = {}
        self._build = LogQuery(kind="build")

    def until_over(self) -> Deployment:
        """The deployment as it ended."""
        started = self._now()
        while True:
            self._show()
            if self._deployment["status"] in OVER:
                return self._deployment
            moments.pause(pause_after(self._now() - started))
            self._deployment = self._patience.call(lambda: self._api.deployment(self._deployment["id"]))

    def _show(self) -> None:
        if self._quiet:
            return
        status = self._deployment["status"]
        if place := self._deployment.get("queue"):
            self._show_place(place)
        elif status in REMARKS and self._is_first(status, "remark"):
            self._note(REMARKS[status])
        for step in self._deployment["steps"]:
            self._show_step(step)

    def _show_place(self, place: Place) -> None:
        if place["place"] != self._place:
            self._note(present.place_text(place))
        self._place = place["place"]

    def _show_step(self, step: Step) -> None:
        name = step["name"]
        label = present.step_text(name)
        if step["skipped"] or not step["started_at"]:
            return
        if self._is_first(name, "started"):
            self._note(f"• {label}")
        if name == "BUILD_IMAGE" and (name, "ended") not in self._shown:
            self._show_build()
        if step["error"]:
            if self._is_first(name, "ended"):
                output.note(f"✗ {label}: {output.harmless(step['error'])}", "red")
        elif step["completed_at"] and self._is_first(name, "ended"):
            output.note(f"✓ {label}  {moments.span(step['started_at'], step['completed_at'])}", "green")
        elif not step["completed_at"] and name != "BUILD_IMAGE":
            self._explain_if_long(name)

    def _explain_if_long(self, name: str) -> None:
        """Say once what a step waits for that takes its time without a word, such as an app that does not answer."""
        now = self._now()
        if now - self._begun.setdefault(name, now) < LONG_SECONDS or not self._is_first(name, "long"):
            return
        with suppress(CommandError):
            if waits_for := self._api.explanation(self._deployment["id"])["waits_for"]:
                output.note(f"  {output.harmless(waits_for)}", "dim")

    def _show_build(self) -> None:
        for line in follow.pages(self._api, self._deployment["id"], self._build, self._patience):
            self._build = replace(self._build, after=line["seq"])
            output.note(f"  {output.harmless(present.line_message(line))}", "dim")

    def _is_first(self, name: str, what: str) -> bool:
        is_first = (name, what) not in self._shown
        self._shown.add((name, what))
        return is_first

    def _note(self, text: str) -> None:
        if not self._quiet:
            output.note(text)


def pause_after(seconds: float) -> float:
    """How long to wait before asking again: briskly at first, because most deployments are short."""
    return next((pause for until, pause in PAUSES if seconds < until), CALM_PAUSE)


def announce(target: Target, *, quiet: bool, guess: str = "") -> None:
    """Say what was made, and where the deployment goes; also where `quiet`, if that was guessed: `guess` says what."""
    if quiet and not guess:
        return
    for what in target.made:
        output.note(f"Created {what}.")
    begin = f"{guess}: d" if guess else "D"
    output.note(f"{begin}eploying to {scope.where(target.instance, target.project)}.", "" if guess else "dim")


def outcome(deployment: Deployment) -> dict[str, str | None]:
    """What `--json` ends with."""
    return {
        "deployment_id": deployment["id"],
        "status": deployment["status"],
        "reason": deployment.get("reason"),
        "url": deployment.get("url"),
    }


def finish(api: Api, deployment: Deployment, *, is_detached: bool, as_json: bool) -> ExitCode:
    """Wait (unless detached), show how it ended, and give the exit code: OK only for SUCCESS or a detached start."""
    if superseding := present.superseding(deployment):
        output.note(f"It goes{superseding}.")
    try:
        if not is_detached:
            deployment = Watch(api, deployment, quiet=as_json).until_over()
    except KeyboardInterrupt:
        output.note(f"\nThe deployment goes on. Cancel it with `trackside cancel {deployment['id']}`.")
        return ExitCode.INTERRUPTED
    if as_json:
        output.as_json_line(outcome(deployment))
    elif is_detached:
        output.say(f"Deployment {deployment['id']} is on its way: {deployment['status']}.")
    else:
        _tell(api, deployment)
    return ExitCode.OK if is_detached or deployment["status"] == "SUCCESS" else ExitCode.FAILED


def _tell(api: Api, deployment: Deployment) -> None:
    if deployment["status"] == "SUCCESS":
        took = moments.span(deployment["created_at"], deployment.get("updated_at"))
        output.note(f"Deployed in {took}." if took else "Deployed.", "bold green")
        output.say(deployment.get("url") or f"Deployment {deployment['id']} runs; it has no URL.")
        return
    for line in _last_lines(api, deployment):
        output.note(f"  {output.harmless(present.line_message(line))}", "dim")
    reason = deployment.get("reason") or "No reason was given."
    output.note(f"{deployment['status']}: {output.harmless(reason)}", "bold red")
    if hint := deployment.get("hint"):
        output.note(f"hint: {output.harmless(hint)}")
    if code := deployment.get("code"):
        output.note(output.harmless(f"code: {code}"), "dim")
    more = f"`trackside logs {deployment['id']}`, `trackside explain deployment {deployment['id']}`"
    output.note(f"Deployment {deployment['id']}; more: {more}.", "dim")


def _last_lines(api: Api, deployment: Deployment) -> list[LogLine]:
    """What the app said last; of a build, everything has been shown already."""
    try:
        return api.logs(deployment["id"], LogQuery(limit=LAST_LINES, newest=True))
    except CommandError:
        return []  # the reason matters more than the lines
