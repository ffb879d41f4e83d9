"""Versions as directories: which one is current, what is made into one, and what is removed."""

import shutil
import sys
from pathlib import Path

import pytest

from trackside.host.commands import run
from trackside.host.errors import VersionUnusable
from trackside.host.layout import Layout
from trackside.host.upgrade import clear_up
from trackside.host.version_source import read_source
from trackside.host.versions import (
    Version,
    current_version,
    ensure_current,
    make_current,
    mark_prepared,
    own_version,
    prepared_versions,
    remove_unused,
)

CHECKOUT = Path(__file__).parents[3]
MEMBERS = ("planner", "server", "cli")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("0a1b2c3d", tmp_path / "home", tmp_path / "data", tmp_path / "run")
    for directory in (layout.home, layout.versions, layout.launches):
        directory.mkdir(parents=True)
    return layout


def prepared(layout: Layout, number: str) -> Version:
    version = Version(number, layout.versions / number)
    (version.directory / f"lib/python3.11/site-packages/trackside-{number}.dist-info").mkdir(parents=True)
    mark_prepared(version, CHECKOUT)
    return version


def test_before_an_upgrade_whoever_starts_the_platform_is_the_current_version(layout: Layout) -> None:
    make_current(layout, Version("0.0.1", layout.home))
    ensure_current(layout)
    assert current_version(layout) == own_version()
    assert own_version().directory == Path(sys.prefix).resolve()


def test_a_start_keeps_the_version_that_an_upgrade_chose(layout: Layout) -> None:
    chosen = prepared(layout, "0.2.0")
    make_current(layout, chosen)
    ensure_current(layout)
    assert current_version(layout) == chosen


def test_versions_that_nothing_names_are_removed_and_so_is_what_was_never_finished(layout: Layout) -> None:
    kept, launched, unused = (prepared(layout, number) for number in ("0.2.0", "0.3.0", "0.4.0"))
    unfinished = layout.versions / "0.5.0"
    unfinished.mkdir()
    (layout.launches / "edge.json").write_text(f'{{"argv": ["{launched.python}"]}}')
    assert prepared_versions(layout) == [kept, launched, unused]
    assert remove_unused(layout, [kept]) == []
    assert sorted(layout.versions.iterdir()) == [kept.directory, launched.directory]


async def test_what_an_upgrade_cannot_clear_away_is_told_and_the_rest_goes(layout: Layout) -> None:
    kept, busy, unused = (prepared(layout, number) for number in ("0.2.0", "0.3.0", "0.4.0"))
    layout.before_upgrade.mkdir()
    await run("mount", "-t", "tmpfs", "none", busy.directory)
    try:
        assert clear_up(layout, [kept]) == [f"{busy.directory} could not be removed."]
    finally:
        await run("umount", busy.directory)
    assert not layout.before_upgrade.exists()
    assert not unused.directory.exists()


def test_an_upgrade_is_no_failure_where_nobody_can_tell_which_versions_are_used(layout: Layout) -> None:
    kept, unused = prepared(layout, "0.2.0"), prepared(layout, "0.3.0")
    (layout.launches / "edge.json").mkdir()  # can't be read as a file
    (sentence,) = clear_up(layout, [kept])
    assert sentence.startswith(f"Versions that nobody needs may be left in {layout.versions}: ")
    assert unused.directory.exists()


# --- what a version is made from ---


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What counts of a checkout."""
    target = tmp_path / "checkout"
    for name in (
        "uv.lock",
        "pyproject.toml",
        "bin/setup",
        "bin/setup.py",
        *(f"{name}/pyproject.toml" for name in MEMBERS),
    ):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, target / name)
    (target / "server/src/trackside").mkdir(parents=True)
    (target / "server/src/trackside/__init__.py").touch()
    return target


def test_a_checkout_that_differs_in_anything_is_another_version(checkout: Path) -> None:
    first = read_source(checkout)
    assert (first.number, first.is_checkout) == (own_version().number, True)
    assert read_source(checkout) == first
    (checkout / "server/src/trackside/__init__.py").write_text('"""Changed."""\n')
    assert read_source(checkout).name != first.name


def test_wheels_are_found_by_the_one_of_the_server_or_by_their_directory(tmp_path: Path) -> None:
    for name in ("trackside", "trackside_planner", "trackside_cli"):
        (tmp_path / f"{name}-0.7.0-py3-none-any.whl").write_text(name)
    wheel = tmp_path / "trackside-0.7.0-py3-none-any.whl"
    assert read_source(tmp_path) == read_source(wheel)
    assert (read_source(wheel).number, read_source(wheel).is_checkout) == ("0.7.0", False)


def test_what_is_no_version_is_refused_with_what_is_missing(tmp_path: Path, checkout: Path) -> None:
    with pytest.raises(VersionUnusable, match="no checkout of Trackside, and no wheel"):
        read_source(tmp_path)
    wheel = tmp_path / "trackside-0.7.0-py3-none-any.whl"
    wheel.touch()
    with pytest.raises(VersionUnusable, match="no wheel of `trackside_planner` beside"):
        read_source(wheel)
    (checkout / "uv.lock").unlink()
    with pytest.raises(VersionUnusable, match=r"not whole: uv[.]lock is missing"):
        read_source(checkout)
