"""Ignore rules: a table of what git does, and git itself asked about random trees and rules."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackside_cli.ignore import is_ignored, parse
from trackside_cli.pack import survey

# (rules, path, whether it is ignored); a path that ends with a slash is a directory
TABLE = [
    ("*.log", "a.log", True),
    ("*.log", "sub/a.log", True),
    ("/*.log", "sub/a.log", False),
    ("build/", "build/", True),
    ("build/", "build", False),
    ("build/", "sub/build/", True),
    ("sub/build", "sub/build", True),
    ("sub/build", "other/sub/build", False),
    ("**/sub/build", "other/sub/build", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**", "a/", False),
    ("a/**", "a/b", True),
    ("*.log\n!keep.log", "keep.log", False),
    ("!keep.log\n*.log", "keep.log", True),
    ("# comment", "# comment", False),
    ("\\#odd", "#odd", True),
    ("\\!odd", "!odd", True),
    ("spaces  ", "spaces", True),
    ("space\\ ", "space ", True),
    ("win.txt\r", "win.txt", True),
    ("\ufeffbom", "bom", True),
    ("[a-c].py", "b.py", True),
    ("[!a-c].py", "b.py", False),
    ("[^a-c].py", "d.py", True),
    ("[]].py", "].py", True),
    ("[[:digit:]]", "7", True),
    ("[z-a]", "b", False),
    ("[open", "[open", False),
    ("a[/]b", "a/b", False),
    ("?.py", "é.py", True),
    ("file\\", "file", False),
    ("", "anything", False),
    ("/", "anything", False),
    ("foo*bar", "foo/bar", False),
    ("foo**bar", "fooxbar", True),
    ("***", "anything", True),
    ("(a|b).+", "a", False),
    (".env", "sub/.env", True),
]


@pytest.mark.parametrize(("rules", "path", "expected"), TABLE)
def test_rules_mean_what_they_mean_to_git(rules: str, path: str, expected: bool) -> None:
    found = is_ignored(path.rstrip("/"), [parse("", rules)], is_directory=path.endswith("/"))
    assert found is expected


def packed(directory: Path) -> set[str]:
    return {entry.name for entry in survey(directory).entries if entry.path.is_file()}


def git_files(directory: Path) -> set[str]:
    """The files git would add."""
    command = [
        "git",
        "-C",
        str(directory),
        "-c",
        "core.excludesFile=",
        "ls-files",
        "-z",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, capture_output=True, check=True).stdout
    return {name.decode() for name in listed.split(b"\0") if name}


NAMES = st.sampled_from(["a", "b", "ab", "a.log", "build", "x y", "[a]", "#a", "!b", "A", "1"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)
PIECES = [
    "a",
    "b",
    "*",
    "**",
    "?",
    "/",
    "!",
    "[ab]",
    "[!a]",
    "[a-c]",
    "[[:alpha:]]",
    "\\",
    ".log",
    "build",
    " ",
    "#",
    "[",
    "]",
    "1",
]
RULE = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
IGNORE_FILES = st.dictionaries(
    st.sampled_from(["", "a", "b", "a/b", "build"]), st.lists(RULE, min_size=1, max_size=4).map("\n".join), max_size=3
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=PATHS, ignore_files=IGNORE_FILES)
def test_random_trees_are_packed_as_git_would_add_them(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], ignore_files: dict[str, str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for path in paths:
        target = root / path
        if not any(parent.is_file() for parent in target.parents) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
    for directory, rules in ignore_files.items():
        if (root / directory).is_dir():
            (root / directory / ".gitignore").write_text(rules)
    assert packed(root) == git_files(root)
