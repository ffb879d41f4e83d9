"""Files of variables: what they may hold, what is refused, and that what is written is read again byte for byte."""

import io
import subprocess

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as some

from trackside_cli.env_file import EnvFileRefused, parse, write

FILE = b"""\xef\xbb\xbf# a comment
PLAIN=value
  SPACED  =  blanks around it count for nothing\t
EMPTY=
export EXPORTED=yes
COMMENTED=value # said of it
HASH=a#b
ONLY_HASH=#b
NOTHING= # only said
SINGLE='as it is: $HOME \\n "#"'  # said of it
DOUBLE="a\\tb\\n\\"c\\" \\$D \\\\ \\x '#'"
MANY="first
second"
KEY='-----BEGIN-----
line = 1
-----END-----
'
DOLLAR=$HOME/${PATH}
EQUALS=a=b=c
QUOTES_WITHIN=it's "so"
WINDOWS=C:\\temp\\new
LAST=\xc3\xa9 \xf0\x9f\x9a\x82"""
READ = {
    "PLAIN": "value",
    "SPACED": "blanks around it count for nothing",
    "EMPTY": "",
    "EXPORTED": "yes",
    "COMMENTED": "value",
    "HASH": "a#b",
    "ONLY_HASH": "#b",
    "NOTHING": "",
    "SINGLE": 'as it is: $HOME \\n "#"',
    "DOUBLE": "a\tb\n\"c\" $D \\ \\x '#'",
    "MANY": "first\nsecond",
    "KEY": "-----BEGIN-----\nline = 1\n-----END-----\n",
    "DOLLAR": "$HOME/${PATH}",
    "EQUALS": "a=b=c",
    "QUOTES_WITHIN": 'it\'s "so"',
    "WINDOWS": "C:\\temp\\new",
    "LAST": "é 🚂",
}


def test_a_file_is_read_as_it_says() -> None:
    assert parse(FILE, ".env") == READ


def test_line_ends_of_windows_mean_the_same() -> None:
    assert parse(FILE.replace(b"\n", b"\r\n"), ".env") == READ


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"A=1\nB", "line 2: it has no value: write NAME="),
        (b"A=1\nexport B\nC=2", "line 2: it has no value: write NAME="),
        (b"A=1\n\n# x\nA=2\n", "line 4: A is there already, in line 1"),
        (b"A='1\n2'\nA=3", "line 3: A is there already, in line 1"),
        (b"1A=x", "line 1: what stands before the = is no name: letters, digits and _ only, no digit first"),
        (b"a.b=x\nc-d=x", "no digit first; line 2: what stands before the = is no name"),
        (b"=x", "line 1: it is not NAME=VALUE"),
        (b"hunter2 hunter3", "line 1: it has no value"),
        (b'{"A": "hunter2"}', "line 1: it is not NAME=VALUE"),
        (b"A: hunter2", "line 1: it is not NAME=VALUE"),
        (b"A='x\nB=1\n", "line 1: its quote is not closed"),
        (b'A="x\\"\nB=1\n', "line 1: its quote is not closed"),
        (b"A='x' y\nB=\"1\"2", "line 1: something follows its closing quote; line 2: something follows"),
        (b"A=x\0y", "line 1: it has a NUL character"),
        (b"A=1\nB=\xff", "line 2: it is not UTF-8 text"),
    ],
)
def test_what_can_not_be_read_is_refused_by_its_line(content: bytes, told: str) -> None:
    with pytest.raises(EnvFileRefused) as refused:
        parse(content, ".env")
    assert told in refused.value.sentence
    assert refused.value.sentence.startswith(".env, line ")
    assert refused.value.sentence.endswith("Nothing was changed.")
    assert "hunter" not in refused.value.sentence


def test_a_refusal_names_ten_lines_and_how_many_more() -> None:
    with pytest.raises(EnvFileRefused, match=r"line 10: .*; and 20 more"):
        parse(b"=\n" * 30, ".env")


NAMES = some.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"])) | some.text(
    some.sampled_from("ab \t\r\n'\"\\$`#=!{}é🚂\ufeff\u2028\x85")
)


@given(some.dictionaries(NAMES, VALUES, max_size=6))
@example({"A": "\\", "B": "'"})
@example({"A": "x\r\ny\r", "B": "\n\n"})
@example({"A": "\\n$HOME`id`\"'", "B": " # "})
def test_what_is_written_is_read_again_byte_for_byte(variables: dict[str, str]) -> None:
    written = write(variables)
    again = parse(written.encode(), "stdin")
    assert again == variables
    assert list(again) == list(variables)
    # An editor on Windows that rewrites every line's end: only raw newlines, which it makes \r\n, come back as newlines.
    assert parse(written.replace("\n", "\r\n").encode(), "stdin") == variables


@given(some.binary(max_size=200))
def test_anything_at_all_is_read_or_refused(content: bytes) -> None:
    try:
        found = parse(content, "stdin")
    except EnvFileRefused:
        return
    assert parse(write(found).encode(), "stdin") == found


LIBRARY_VALUES = some.text(some.characters(exclude_characters="\0\\\r", exclude_categories=["Cs"]))


@given(some.dictionaries(NAMES, LIBRARY_VALUES, max_size=4))
def test_a_usual_library_reads_what_is_written_alike(variables: dict[str, str]) -> None:
    """python-dotenv; but for backslashes, of which it can't have one before a closing quote, `$` and `` ` `` beside a quote."""
    plain = {name: value for name, value in variables.items() if not ("'" in value and set("$`") & set(value))}
    assert dotenv_values(stream=io.StringIO(write(plain)), interpolate=False) == plain


@given(some.text(some.sampled_from("ab \n'\"\\$`#=!{}é🚂"), max_size=20))
def test_a_shell_reads_what_is_written_alike(value: str) -> None:
    given_to = 'eval "$1"; printf %s "$A"'
    ran = subprocess.run(["sh", "-c", given_to, "sh", write({"A": value})], capture_output=True, check=True)
    assert ran.stdout.decode() == value
