"""BuildKit's plain progress: log lines for people, and the sentence that says why a build failed. Pure."""

import re
from dataclasses import dataclass, field

_STEP = re.compile(r"^#(\d+) (.*)$")
_TIMED = re.compile(r"^\d+\.\d+ (.*)$")
_NAME = re.compile(r"^(\[[^\]]+\] .*|exporting to image|resolve image config .*)$")
_NOISE = re.compile(r"^(sha256:[0-9a-f]{64}( .*)?|transferring .*|digest: .*|name: .*|resolve .*)$")
_INTERNAL = re.compile(r"^\[(internal|auth)\]|^resolve image config")
_EXIT_CODE = re.compile(r"(?:exit code: |exit code )(\d+)")
_FAILED = re.compile(r"^(ERROR|failed|error)\b", re.IGNORECASE)
_WRITTEN = re.compile(
    r"(\. /dev/trackside/environment; |if \[ -f /dev/trackside/variables \]; then \. /dev/trackside/variables; fi; )|--mount=\S+ ?"
)
_TELLING = re.compile(r"^(error|fatal|E:|npm (ERR!|error)|\u00d7)|\w(Error|Exception): ", re.IGNORECASE)
"""A line that says what went wrong; programs like to print hints or their version after it."""
_TAIL = 30
_STEP_LENGTH = 120


@dataclass
class Progress:
    """Follows one build. `read` each line of the program; it gives back what to log (None: nothing)."""

    names: dict[str, str] = field(default_factory=dict[str, str])
    tails: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    failed_step: str | None = None
    error: str = ""
    last: str = ""
    _internal: set[str] = field(default_factory=set[str])

    def read(self, line: str) -> str | None:
        match = _STEP.match(line)
        if match is None:
            return self._outside(line)
        number, text = match.groups()
        if _NAME.match(text):
            return self._name(number, text)
        if number in self._internal and not text.startswith("ERROR"):
            return None
        return self._inside(number, text)

    def _name(self, number: str, text: str) -> str | None:
        if _INTERNAL.match(text):
            self._internal.add(number)
            self.names[number] = text
            return None
        shown = readable(text)
        is_new = self.names.get(number) != shown
        self.names[number] = shown
        return shown if is_new else None

    def _inside(self, number: str, text: str) -> str | None:
        if text.startswith("ERROR"):
            self.failed_step, self.error = number, text.removeprefix("ERROR:").strip()
            return f"ERROR: {readable(self.error)}"
        if _NOISE.match(text) or text == "...":
            return None
        timed = _TIMED.match(text)
        if timed is None:
            return None if text.startswith(("DONE", "exporting", "writing", "naming")) else text
        self.tails.setdefault(number, []).append(timed[1])
        del self.tails[number][:-_TAIL]
        return timed[1]

    def _outside(self, line: str) -> str | None:
        """Lines without a step number: the summary of a failure, which repeats what was logged already."""
        if _FAILED.match(line.strip()):
            self.last = line.strip()
        return None

    @property
    def tail(self) -> list[str]:
        """The last lines that the failed step printed."""
        return self.tails.get(self.failed_step or "", [])

    @property
    def exit_code(self) -> int | None:
        match = _EXIT_CODE.search(self.error) or _EXIT_CODE.search(self.last)
        return int(match[1]) if match else None

    def sentence(self) -> str:
        """Why it failed: the step, its exit code, and the last line it printed."""
        name = self.names.get(self.failed_step or "")
        said = [line.strip() for line in self.tail if line.strip()]
        last = next((line for line in said if _TELLING.search(line)), said[-1] if said else "")
        if name and self.exit_code is not None:
            return f"The build step `{shortened(name)}` ended with exit code {self.exit_code}" + (
                f": {last}" if last else "."
            )
        why = readable(self.last or self.error) or "the build program ended without saying why"
        why = why.removeprefix("failed to solve with frontend dockerfile.v0: ").removeprefix("failed to solve: ")
        return f"The build failed: {why.removeprefix('ERROR: ').rstrip('.')}."


def shortened(step: str) -> str:
    """A step's beginning, for a sentence: some are whole programs. The log has all of it."""
    return step if len(step) <= _STEP_LENGTH else f"{step[:_STEP_LENGTH].rstrip()} …"


def readable(text: str) -> str:
    """A step as its writer knows it: without the mounts and the prelude that were put in for the network."""
    return _WRITTEN.sub("", text).strip()
