"""The command line refuses the names and links in an upload that the platform would refuse, and no others."""

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.archives.unpack import unpack_archive
from trackside.rooms.builds.errors import ArchiveRefused
from trackside_cli.acceptable import LONGEST_NAME, LONGEST_PATH
from trackside_cli.errors import NameRefused
from trackside_cli.pack import Tree, check, stream, survey

NAME = st.sampled_from(["a", "b", "c", "ü", "\x01", "\x7f", "\udcff", "\\a", "C:\\a", "a:b", "n" * 255]) | st.text(
    st.sampled_from("ab:\\\t"), min_size=1, max_size=4
)
TARGET = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "", "\x02", "\udcfe"]), min_size=1, max_size=6).map(
    "/".join
)
THINGS = st.lists(st.tuples(st.lists(NAME, min_size=1, max_size=3), st.none() | TARGET), min_size=1, max_size=6)
LIMITS = ArchiveLimits()


@example([(["n" * 200] * 10, None)])
@example([(["n" * 200] * 11, None)])
@example([(["a"], "b/../.."), (["b"], "c/c")])
@example([(["a"], "a/../b")])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(THINGS)
def test_the_command_line_and_the_platform_agree(things: list[tuple[list[str], str | None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root, archive = Path(directory) / "tree", Path(directory) / "archive"
        root.mkdir()
        for names, target in things:
            put(root.joinpath(*names), target)
        tree = survey(root)
        archive.write_bytes(b"".join(stream(tree, lambda _: None)))
        into = Path(directory) / "into"
        into.mkdir()
        assert is_refused_here(tree) == is_refused_there(archive, into), tree.entries


def put(path: Path, target: str | None) -> None:
    """A file, or a link; nothing where something else is in the way."""
    with suppress(OSError):
        if not leads_through_a_link(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False) if target is None else path.symlink_to(target)


def leads_through_a_link(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents)


def is_refused_here(tree: Tree) -> bool:
    try:
        check(tree)
    except NameRefused:
        return True
    return False


def is_refused_there(archive: Path, into: Path) -> bool:
    """But for links that lead in a circle, which the command line does not look for."""
    try:
        unpack_archive(archive, into, LIMITS)
    except ArchiveRefused as refused:
        return "circle" not in refused.sentence
    return False


def test_both_know_the_same_lengths() -> None:
    assert (LIMITS.path_bytes, LIMITS.name_bytes) == (LONGEST_PATH, LONGEST_NAME)
