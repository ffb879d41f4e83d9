"""`up`: a directory becomes a deployment."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trackside_cli import output, pack, scope, watch
from trackside_cli.client import Api
from trackside_cli.commands.flags import Flags, Going, Json, signed_in, takes_flags
from trackside_cli.errors import UsageError
from trackside_cli.patience import Patience

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory to upload.")]
Part = Annotated[
    str | None,
    typer.Option("--path", metavar="SUB", help="Build this sub-directory of the upload.", show_default=False),
]
UPLOAD_PATIENCE = 60.0  # seconds; each try sends everything again


@takes_flags
def up(flags: Flags, going: Going, directory: Directory = Path(), path: Part = None, as_json: Json = False) -> None:
    """Upload a directory, build it and run it.

    Makes the project and the service where they are missing, named after the directory. What .gitignore and
    .tracksideignore name stays here; `.git` always does. Waits until the app serves, then prints its URL.
    """
    tree = pack.survey(directory)
    if not tree.files:
        raise UsageError(f"There is nothing to upload in {directory.resolve()}.", hint="Is everything ignored?")
    pack.check(tree)
    for name in tree.skipped:
        output.note(f"Left out {output.harmless(name)}: it is no file.", "yellow")
    with signed_in() as connection:
        wanted = flags.wanted(connection.api_url, directory)
        target = scope.ensure_target(connection.api, scope.for_upload(wanted), wanted.directory)
        instance = target.instance
        watch.announce(target, quiet=as_json)
        source = _upload(connection.api, instance["id"], tree, quiet=as_json)
        if path:
            source["directory"] = path
        patience = Patience(output.note)
        deployment = patience.call(
            lambda: connection.api.deploy(instance["id"], source, is_urgent=going.urgent), is_repeatable=False
        )
        raise typer.Exit(watch.finish(connection.api, deployment, is_detached=going.detach, as_json=as_json))


def _upload(api: Api, instance_id: str, tree: pack.Tree, *, quiet: bool) -> dict[str, Any]:
    """Send the tree; the source that it became."""
    meter = output.Meter("Uploading", tree.size_bytes, quiet=quiet)
    patience = Patience(output.note, limit=UPLOAD_PATIENCE)
    try:
        # An upload that broke off has done nothing yet: it can be sent again.
        done = patience.call(lambda: api.upload(instance_id, pack.stream(tree, meter.update)))
    except KeyboardInterrupt:
        output.note("\nInterrupted: nothing was deployed.")
        raise
    finally:
        meter.clear()
    if not quiet:
        packed = output.size(done["size_bytes"])
        output.note(f"Uploaded {output.counted(tree.files, 'file')}, {output.size(tree.size_bytes)} ({packed} packed).")
    return {"kind": "upload", "upload_id": done["upload_id"]}


def register(app: typer.Typer) -> None:
    app.command()(up)
