"""Which URLs a config may keep: none with a credential in it."""

import pytest

from trackside.rooms.projects.errors import SecretInUrl
from trackside.rooms.projects.plan import check_sources

HELD = [
    "https://hunter2@git.example.org/a/b",
    "https://x:hunter2@git.example.org/a/b",
    "https://:hunter2@git.example.org/a/b",
    "https://x%3Ahunter2@git.example.org/a/b",
    "HTTP://hunter2@git.example.org",
    " https://hunter2@git.example.org/a/b",
    "https:///hunter2@git.example.org/a/b",
    "https:/hunter2@git.example.org/a/b",
    "https:hunter2@git.example.org/a/b",
    "git+https://hunter2@git.example.org/a/b",
    "hunter2@git.example.org/a/b",
    "x:hunter2@git.example.org/a/b",
    "x:hunter2@git.example.org:a/b",
    "ssh://git:hunter2@git.example.org/a/b",
    "ssh://git%3ahunter2@git.example.org/a/b",
]
INNOCENT = [
    "https://git.example.org/a/b.git",
    "https://git.example.org:8443/a/b@v1",
    "https://git.example.org/@scope/b?x=a@b#c@d",
    "ssh://git@git.example.org:2222/a/b.git",
    "ssh://git.example.org/~ada/b.git",
    "git@git.example.org:a/b.git",
    "git@git.example.org:b@v1",
    "git@[2001:4860:4860::8888]:a/b",
    "file:///srv/git/a@b.git",
    "/srv/git/a@b.git",
    "",
]


@pytest.mark.parametrize("url", HELD)
def test_a_url_with_a_credential_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SecretInUrl) as caught:
        check_sources({"services": {"a": {"source": {"kind": "git", "url": url}}}})
    assert "`source.url`" in caught.value.sentence
    assert "hunter2" not in caught.value.sentence + caught.value.hint


def test_a_url_under_a_key_we_do_not_know_is_judged_too() -> None:
    with pytest.raises(SecretInUrl, match=r"source\.repo"):
        check_sources({"services": {"a": {"source": {"repo": HELD[0]}}}})


@pytest.mark.parametrize("url", INNOCENT)
def test_other_urls_are_kept(url: str) -> None:
    check_sources({"services": {"a": {"source": {"kind": "git", "url": url}}, "b": None, "c": {"source": None}}})


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "image", "reference": "registry.example.org:5000/app:1@sha256:00"},
        {"kind": "git", "directory": "packages@next/app", "known_host": "a ssh-ed25519 AAAA user:1@laptop"},
    ],
)
def test_what_is_no_url_may_have_an_at_sign(source: dict[str, str]) -> None:
    check_sources({"services": {"a": {"source": source}}})
