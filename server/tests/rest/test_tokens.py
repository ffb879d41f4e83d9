"""Tokens: made, listed and revoked; a revoked one is refused by the next request, and a replay knows it too."""

from dataclasses import replace
from uuid import UUID

import pytest

from conftest import another_workspace
from rest.client import Rest, token_of
from trackside.bootstrap import READ_MODELS
from trackside.entry.admin.replay import replay
from trackside.kit import events
from trackside.rooms.identity import service as identity
from trackside.rooms.identity.errors import TokenAmbiguous, TokenMissing, TokenNameRefused
from trackside.rooms.identity.model import NewToken, Token


async def made(rest: Rest, name: str) -> NewToken:
    async with rest.platform.database.transaction() as tx:
        return await identity.create_token(tx, rest.workspace_id, name)


async def revoke(rest: Rest, named: str) -> Token:
    async with rest.platform.database.transaction() as tx:
        return await identity.revoke_token(tx, rest.workspace_id, named)


async def names(rest: Rest, workspace_id: UUID | None = None) -> list[str]:
    async with rest.platform.database.transaction() as tx:
        return [token.name for token in await identity.list_tokens(tx, workspace_id or rest.workspace_id)]


async def test_a_revoked_token_is_refused_by_the_next_request_and_others_go_on(rest: Rest) -> None:
    lost = await made(rest, "laptop")
    holder = replace(rest, token=lost.text)
    assert (await holder.call("GET", "/v1/me"))["name"] == "laptop"
    await revoke(rest, "laptop")
    error = await holder.refused("GET", "/v1/me", 401)
    assert error["kind"] == "unauthenticated"
    await holder.refused("POST", "/v1/projects", 401, json={"name": "shop"})
    assert (await rest.call("GET", "/v1/me"))["name"] == "tests"


async def test_a_token_is_named_by_id_by_its_beginning_by_its_whole_text_or_by_its_name(rest: Rest) -> None:
    tokens = [await made(rest, f"t{number}") for number in range(4)]
    for token, named in zip(tokens, (str(tokens[0].id), tokens[1].prefix, tokens[2].text, tokens[3].name), strict=True):
        assert (await revoke(rest, named)).id == token.id
    assert await names(rest) == ["tests"]


async def test_tokens_are_listed_oldest_first_without_any_secret(rest: Rest) -> None:
    token = await made(rest, "ci")
    async with rest.platform.database.transaction() as tx:
        first, second = await identity.list_tokens(tx, rest.workspace_id)
    assert (first.name, second.name) == ("tests", "ci")
    assert second.prefix == token.text[: len(second.prefix)]
    assert token.text not in repr(second)
    assert token.text not in repr(token)


async def test_a_whole_token_with_a_slip_in_it_revokes_none(rest: Rest) -> None:
    token = await made(rest, "trackside_of_the_pipeline")
    with pytest.raises(TokenMissing) as missing:
        await revoke(rest, token.text[:-1] + ("a" if token.text[-1] != "a" else "b"))
    assert token.text[:-1] not in missing.value.sentence
    assert (await revoke(rest, "trackside_of_the_pipeline")).id == token.id


async def test_two_tokens_of_one_name_must_be_told_apart(rest: Rest) -> None:
    one, _ = await made(rest, "ci"), await made(rest, "ci")
    with pytest.raises(TokenAmbiguous, match="2 tokens have the name `ci`"):
        await revoke(rest, "ci")
    await revoke(rest, str(one.id))
    assert await names(rest) == ["tests", "ci"]


async def test_a_token_that_is_gone_unknown_or_of_another_workspace_is_missing(rest: Rest) -> None:
    other = await another_workspace(rest.platform, "other")
    theirs = await token_of(rest.platform, other)
    token = await made(rest, "ci")
    await revoke(rest, "ci")
    for named in ("ci", str(token.id), token.text, theirs, "", "nobody"):
        with pytest.raises(TokenMissing) as missing:
            await revoke(rest, named)
        assert token.text not in str(missing.value)
    assert await names(rest, other) == ["tests"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "\x1b[31m", "\ud800", "\0"])
async def test_a_name_that_nobody_could_read_is_refused(rest: Rest, name: str) -> None:
    with pytest.raises(TokenNameRefused) as refused:
        await made(rest, name)
    assert str(refused.value).isprintable()
    assert await names(rest) == ["tests"]


async def test_replay_rebuilds_the_tokens_that_are_left_and_refuses_the_revoked_ones(rest: Rest) -> None:
    lost, kept = await made(rest, "lost"), await made(rest, "kept")
    await revoke(rest, "lost")
    outcome = await replay(rest.platform.owner, [rest.workspace_id], READ_MODELS)
    assert outcome.changed == ()
    assert await names(rest) == ["tests", "kept"]
    await replace(rest, token=lost.text).refused("GET", "/v1/me", 401)
    assert (await replace(rest, token=kept.text).call("GET", "/v1/me"))["id"] == str(kept.id)
    async with rest.platform.database.transaction() as tx:
        assert await events.verify(tx, "platform") is None
