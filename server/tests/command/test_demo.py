"""Which checkouts the demo deploys from their repository, and which it must upload: seen on real repositories."""

import subprocess
from pathlib import Path

import pytest

from trackside.command.demo import has_its_own_repository


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init")
    (directory / "file").write_text("text\n")
    git(directory, "add", ".")
    git(directory, "commit", "-m", "First")
    return directory


def test_a_clone_has_its_own_repository(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", str(repository), "clone")
    assert has_its_own_repository(repository)
    assert has_its_own_repository(tmp_path / "clone")


def test_the_repository_of_a_worktree_is_elsewhere(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", str(tmp_path / "worktree"))
    assert (tmp_path / "worktree" / ".git").is_file()
    assert not has_its_own_repository(tmp_path / "worktree")


def test_a_clone_that_borrows_objects_has_part_of_its_repository_elsewhere(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--shared", str(repository), "shared")
    assert not has_its_own_repository(tmp_path / "shared")


def test_an_unpacked_archive_has_no_repository(tmp_path: Path) -> None:
    assert not has_its_own_repository(tmp_path)
