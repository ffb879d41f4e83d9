"""What a version is made from: a checkout, a wheel of `trackside` with those beside it, or a directory of wheels."""

import hashlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackside.host.commands import attempt
from trackside.host.errors import UpgradeFailed, VersionUnusable
from trackside.host.versions import MARK

MEMBERS = ("planner", "server", "cli")
PREPARE_SECONDS = 1800


@dataclass(frozen=True)
class Source:
    """A version to be made. `digest` stands for all that it is made from; `is_checkout` tells a checkout from wheels."""

    path: Path
    number: str
    digest: str
    is_checkout: bool

    @property
    def name(self) -> str:
        """The name of its directory: what differs in anything lies apart."""
        return f"{self.number}-{self.digest[:8]}"


def read_source(path: Path) -> Source:
    """Look at what is to be made into a version. Errors: `VersionUnusable`."""
    if (path / "server" / "pyproject.toml").is_file():
        return _checkout(path)
    directory = path.parent if path.is_file() else path
    wheels = [path] if path.is_file() else sorted(path.glob("trackside-*.whl"))
    if len(wheels) != 1 or not wheels[0].name.startswith("trackside-") or wheels[0].suffix != ".whl":
        raise VersionUnusable(f"{path} is no checkout of Trackside, and no wheel or directory with one wheel of it.")
    for name in ("trackside_planner", "trackside_cli"):
        if not list(directory.glob(f"{name}-*.whl")):
            raise VersionUnusable(f"There is no wheel of `{name}` beside {wheels[0]}.")
    files = [*sorted(directory.glob("*.whl")), directory / "requirements.txt"]
    return Source(directory, wheels[0].name.split("-")[1], _digest(directory, files), is_checkout=False)


def _checkout(path: Path) -> Source:
    needed = ("uv.lock", "pyproject.toml", "bin/setup", "bin/setup.py", *(f"{name}/pyproject.toml" for name in MEMBERS))
    if missing := [name for name in needed if not (path / name).is_file()]:
        raise VersionUnusable(f"The checkout {path} is not whole: {missing[0]} is missing.")
    try:
        project = tomllib.loads((path / "server/pyproject.toml").read_text(encoding="utf-8"))["project"]
        number = str(project["version"])
    except (tomllib.TOMLDecodeError, KeyError) as damage:
        raise VersionUnusable(f"{path / 'server/pyproject.toml'} names no version: {damage}.") from damage
    files = [*(path / name for name in needed), *_sources(path)]
    return Source(path, number, _digest(path, files), is_checkout=True)


def _sources(checkout: Path) -> Iterator[Path]:
    for member in MEMBERS:
        found = sorted((checkout / member / "src").rglob("*"))
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _digest(root: Path, files: list[Path]) -> str:
    made = hashlib.sha256(sys.version.encode())
    for file in files:
        if file.exists():
            made.update(f"\0{file.relative_to(root)}\0".encode())
            made.update(hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()


async def make_version(source: Source, directory: Path, environment: Mapping[str, str]) -> None:
    """Install the source with its locked dependencies into a directory of its own; a checkout by its own set-up program.

    Errors: `UpgradeFailed` with what the set-up said.
    """
    into = ("--into", directory)
    if source.is_checkout:
        argv = (source.path / "bin" / "setup", *into)
    else:
        argv = (sys.executable, "-I", _setup_program(), *into, "--wheels", source.path)
    result = await attempt(*argv, seconds=PREPARE_SECONDS, environment=environment)
    if result.status != 0:
        said = [line.strip() for line in result.complaint.splitlines() if line.strip()] or ["it ended without a word"]
        hint = said[1] if len(said) > 1 else "Give the same command again."
        sentence = said[0].removeprefix("trackside: ")
        raise UpgradeFailed(f"The version {source.number} could not be installed: {sentence}", hint=hint)


def _setup_program() -> Path:
    """The set-up program that came with this version: in its own environment, or in the checkout of it."""
    prefix = Path(sys.prefix).resolve()
    directory = prefix if (prefix / MARK).exists() else prefix.parent
    return directory / "bin" / "setup.py"
