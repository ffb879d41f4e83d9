"""Makes workspaces on the platform of this state directory and prints a token of each: nobody else can make them yet."""

import asyncio
import json
import sys
from collections.abc import Sequence

from trackside import bootstrap
from trackside.entry.admin import database
from trackside.rooms.identity import service as identity


async def make(names: Sequence[str]) -> dict[str, str]:
    async with bootstrap.started_house() as house, house.owner() as owner:
        async with house.database.transaction() as tx:
            made = {name: await identity.record_workspace(tx, name) for name in names}
        await database.prepare(house.settings.database_owner_url, house.database, owner, house.keyring)
        async with house.database.transaction() as tx:
            return {name: (await identity.create_token(tx, made[name], name)).text for name in names}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(make(sys.argv[1:]))))
