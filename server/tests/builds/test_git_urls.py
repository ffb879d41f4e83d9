"""Which URLs and references are taken, and what they mean."""

import pytest

from trackside.adapters.git.references import Wanted, choose, read_listing
from trackside.adapters.git.urls import (
    RepositoryUrl,
    Transport,
    check_reference,
    is_public,
    parse_url,
    resolve_submodule,
)
from trackside.rooms.builds.errors import SourceRefused

TAKEN = [
    ("https://git.example.org/a/b.git", "https://git.example.org/a/b.git"),
    ("https://GIT.example.org:8443/a/b", "https://git.example.org:8443/a/b"),
    ("https://git.example.org:443/a", "https://git.example.org/a"),
    ("http://git.example.org/a", "http://git.example.org/a"),
    ("https://git.example.org/a/b%20c.git", "https://git.example.org/a/b%20c.git"),
    ("https://[2001:4860:4860::8888]/a", "https://[2001:4860:4860::8888]/a"),
    ("https://8.8.8.8/a", "https://8.8.8.8/a"),
    ("ssh://git@git.example.org/a/b.git", "ssh://git@git.example.org/a/b.git"),
    ("ssh://git@git.example.org:2222/a/b.git", "ssh://git@git.example.org:2222/a/b.git"),
    ("ssh://git.example.org/~ada/b.git", "ssh://git.example.org/~ada/b.git"),
    ("git@git.example.org:a/b.git", "ssh://git@git.example.org/a/b.git"),
    ("git@git.example.org:/srv/b.git", "ssh://git@git.example.org/srv/b.git"),
    ("file:///srv/git/a.git", "file:///srv/git/a.git"),
    ("file://localhost/srv/git/a.git", "file:///srv/git/a.git"),
    ("/srv/git/a.git", "file:///srv/git/a.git"),
]

REFUSED = [
    "",
    " https://git.example.org/a",
    "https://git.example.org/a b",
    "https://git.example.org/a\nHost: x",
    "https://git.example.org/a\x00",
    "https://git.example.org/a\x7f",
    "ext::sh -c id",
    "ext::sh%20-c%20id",
    "fd::17/x",
    "https::https://git.example.org/a",
    "-oProxyCommand=id",
    "--upload-pack=id",
    "git://git.example.org/a",
    "ftp://git.example.org/a",
    "svn+ssh://git.example.org/a",
    "javascript://git.example.org/a",
    "https://",
    "https:///a",
    "https://git.example.org",
    "https://git.example.org/",
    "https://git.example.org/-x",
    "https://ada:secret@git.example.org/a",
    "https://token@git.example.org/a",
    "https://git.example.org/a?x=1",
    "https://git.example.org/a#main",
    "https://git.example.org:0/a",
    "https://git.example.org:99999/a",
    "https://git.example.org:x/a",
    "https://-git.example.org/a",
    "https://git..example.org/a",
    "https://git_example.org/a",
    "https://gít.example.org/a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://127.1/a",
    "https://0177.0.0.1.0x1/a",
    "https://git.example.org\\@evil.org/a",
    "https://git.example.org/a\\b",
    "ssh://-oProxyCommand=id@git.example.org/a",
    "ssh://-oProxyCommand=id/a",
    "ssh://git@git.example.org",
    "ssh://git:secret@git.example.org/a",
    "ssh://a%20b@git.example.org/a",
    "git.example.org:a/b.git",
    "git@-evil:a/b.git",
    "git@git.example.org:-x",
    "a/b.git",
    "./a.git",
    "../a.git",
    "file://git.example.org/a",
    "file:///srv/%0Aa",
    "file:relative",
    "//git.example.org/a",
    "https://git.example.org/" + "a" * 3000,
]


@pytest.mark.parametrize(("text", "meaning"), TAKEN)
def test_a_proper_url_is_written_again_from_its_parts(text: str, meaning: str) -> None:
    url = parse_url(text)
    assert url.text == meaning
    assert parse_url(url.text) == url


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused_without_showing_what_may_be_secret(text: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        parse_url(text)
    assert "secret" not in caught.value.sentence


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("::7f00:1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:a9fe:a9fe::", False),
        ("2001:db8::1", False),
        ("not an address", False),
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "text", ["main", "v1.0", "feature/login", "a" * 40, "refs/heads/main", "release-1.x", "fix#12", "a@b"]
)
def test_proper_references_are_taken(text: str) -> None:
    assert check_reference(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        "--upload-pack=id",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "@{-1}",
        "a.lock",
        "a/",
        "/a",
        "a//b",
        "a\n",
        "a.",
        ".a/..",
        "x" * 300,
        "a;id",
        "$(id)",
    ],
)
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(SourceRefused):
        check_reference(text)


PARENT = RepositoryUrl(Transport.HTTPS, "/group/app.git", "git.example.org")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("../lib.git", "https://git.example.org/group/lib.git"),
        ("../../other/lib.git", "https://git.example.org/other/lib.git"),
        ("./lib.git", "https://git.example.org/group/app.git/lib.git"),
        ("https://elsewhere.example.org/x.git", "https://elsewhere.example.org/x.git"),
    ],
)
def test_a_submodules_url_may_be_relative(text: str, meaning: str) -> None:
    assert resolve_submodule(PARENT, text).text == meaning


@pytest.mark.parametrize("text", ["../../../x.git", "../../..", "ext::id", "-x", ""])
def test_a_submodules_url_is_judged_like_any_other(text: str) -> None:
    with pytest.raises(SourceRefused):
        resolve_submodule(PARENT, text)


A, B = "a" * 40, "ab" + "c" * 38
LISTING = read_listing(
    f"ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/trunk\n{B}\trefs/heads/v1\n{A}\trefs/tags/v1\n"
)


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        (None, Wanted("HEAD", "trunk")),
        ("trunk", Wanted("refs/heads/trunk", "trunk")),
        ("v1", Wanted("refs/heads/v1", "v1")),
        ("refs/tags/v1", Wanted("refs/tags/v1")),
        ("f" * 40, Wanted("f" * 40)),
        (B[:8].upper(), Wanted(B)),
        ("fffffff", Wanted(None, abbreviated="fffffff")),
        ("nothing", None),
        ("abc", None),
    ],
)
def test_a_branch_goes_before_a_tag_before_a_commit(reference: str | None, wanted: Wanted | None) -> None:
    assert choose(LISTING, reference) == wanted
