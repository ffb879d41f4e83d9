"""Replaying the events rebuilds identical read models, after whatever was done."""

import contextlib
import random

import pytest
from sqlalchemy import text

from conftest import Platform, another_workspace
from data.life import Life
from trackside.bootstrap import READ_MODELS
from trackside.entry.admin.replay import replay
from trackside.kit.db import schema_of
from trackside.kit.errors import TracksideError


@pytest.mark.parametrize("seed", range(8))
async def test_replay_rebuilds_identical_read_models_after_random_operations(platform: Platform, seed: int) -> None:
    workspaces = [platform.workspace_id, await another_workspace(platform, "other")]
    choose = random.Random(seed)
    lives = [Life(platform, workspace_id, choose) for workspace_id in workspaces]
    for _ in range(120):
        with contextlib.suppress(TracksideError):
            await choose.choice(lives).do_something()
    outcome = await replay(platform.owner, workspaces, READ_MODELS)
    assert outcome.changed == ()
    assert outcome.events > 30


async def test_the_random_operations_are_of_every_kind_and_none_is_always_refused(platform: Platform) -> None:
    life = Life(platform, platform.workspace_id, random.Random(3))
    for _ in range(300):
        with contextlib.suppress(TracksideError):
            await life.do_something()
    assert life.missing == set()


async def test_replay_tells_which_table_was_tampered_with_and_mends_it(platform: Platform) -> None:
    life = Life(platform, platform.workspace_id, random.Random(1))
    await life.create_project()
    schema = schema_of(platform.workspace_id)
    async with platform.owner.transaction() as tx:
        await tx.connection.execute(text(f"UPDATE {schema}.projects SET name = 'tampered'"))
    first = await replay(platform.owner, [platform.workspace_id], READ_MODELS)
    assert first.changed == (f"{schema}.projects",)
    second = await replay(platform.owner, [platform.workspace_id], READ_MODELS)
    assert second.changed == ()
