"""Sources as people give them: checked, and with what is secret in them put apart."""

from collections.abc import Mapping
from typing import Any

from trackside.kit.db import Transaction
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.errors import SourceRefused
from trackside.rooms.builds.model import ImageSource, UploadSource
from trackside.rooms.deployments.converge.preparing import comes_from_engine
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import SOURCE_SECRETS


async def accept_source(
    tx: Transaction, vault: projects.Vault, given: Mapping[str, Any] | None, *, is_engine_open: bool = False
) -> dict[str, Any] | None:
    """The source as the config keeps it: checked, and with a token or key put into the vault. Errors: `SourceRefused`.

    `is_engine_open`: any image on the engine may be deployed.
    """
    if given is None:
        return None
    source = {key: value for key, value in given.items() if key not in SOURCE_SECRETS and value is not None}
    if given_secrets := source.keys() & SOURCE_SECRETS.values():
        # Ids can be read by those who may not read values: a source of somebody's own would be sent the value.
        raise SourceRefused(
            f"`source.{min(given_secrets)}` can't be set.", hint="Give the `token` or `private_key` itself."
        )
    for key, name in SOURCE_SECRETS.items():
        if isinstance(given.get(key), str) and given[key]:
            source[name] = str(await vault.keep(tx, given[key]))
    checked = builds.source_of(source)
    if isinstance(checked, UploadSource):
        await builds.upload_of(tx, checked)
    if isinstance(checked, ImageSource):
        await comes_from_engine(tx, checked, is_engine_open)
    return source
