"""Settings of a service: get, set, unset. Which there are, and what they may be, is known to the platform alone."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from trackside_cli import output, present, scope, settings
from trackside_cli.client import Api
from trackside_cli.client.types import ServiceInstance
from trackside_cli.commands.flags import Flags, Json, signed_in, takes_flags, target
from trackside_cli.settings import Config, Setting

Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY]...", help="Only these, and what is below them: `deploy.port`, `deploy`.", show_default=False
    ),
]
Assignments = Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Dotted keys and their new values.")]
Unwanted = Annotated[list[str], typer.Argument(metavar="KEY", help="The settings that go back to their default.")]

Change = tuple[list[str], Any]


@takes_flags
def get(flags: Flags, keys: Keys = None, as_json: Json = False) -> None:
    """Show the settings of a service, with their defaults.

    They are what the next deployment is made with. `trackside variables list` shows its variables.
    """
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        known = list(settings.described(connection.api.service_config_schema()))
        config = _config_of(instance, connection.api.config(instance["environment_id"])["config"])
    rows = settings.chosen(settings.found_in(config, known), keys or [], known)
    if as_json:
        output.as_json(rows)
    else:
        output.table(("key", "value", "from"), present.setting_rows(rows), empty="It is not set, and has no default.")


@takes_flags
def set_settings(assignments: Assignments, flags: Flags, as_json: Json = False) -> None:
    """Change settings of a service; its next deployment has them.

    A value is JSON where it can be read as JSON, else text: `deploy.port=8000`, `deploy.healthcheckPath=/health`,
    `build.buildArguments.VERSION=1.4`. All are changed, or none.
    """
    _change(flags, lambda known, _: [settings.assignment(text, known) for text in assignments], as_json=as_json)


@takes_flags
def unset(keys: Unwanted, flags: Flags, as_json: Json = False) -> None:
    """Bring settings of a service back to their default; its next deployment has it."""
    _change(
        flags, lambda known, config: [(settings.path_of(key, known, config), None) for key in keys], as_json=as_json
    )


def _change(flags: Flags, changes_for: Callable[[Sequence[Setting], Config], list[Change]], *, as_json: bool) -> None:
    with signed_in() as connection:
        instance = target(connection, flags)
        known = list(settings.described(connection.api.service_config_schema()))
        before = _config_of(instance, connection.api.config(instance["environment_id"])["config"])
        changes = changes_for(known, before)
        committed = _commit(connection.api, instance, changes)
    after = _config_of(instance, committed["config"])
    changed = [
        ".".join(path) for path, _ in changes if settings.value_at(before, path) != settings.value_at(after, path)
    ]
    if as_json:
        output.as_json({"version": committed["version"], "changed": changed})
    else:
        output.say(_told(instance, changed, flags))


def _commit(api: Api, instance: ServiceInstance, changes: Sequence[Change]) -> Any:
    patch = {"services": {instance["service_id"]: settings.patch_of(changes)}}
    keys = ", ".join(sorted(".".join(path) for path, _ in changes))
    return api.change_config(instance["environment_id"], patch, f"settings of {instance['service_name']}: {keys}")


def _config_of(instance: ServiceInstance, config: Config) -> Config:
    """The service's part of the environment's config."""
    return settings.value_at(config, ("services", instance["service_id"])) or {}


def _told(instance: ServiceInstance, changed: Sequence[str], flags: Flags) -> str:
    if not changed:
        return "Nothing changed."
    if instance["latest_deployment"] is None:
        return f"Changed {', '.join(changed)}. The first deployment will have it."
    flag_words = [word for name, value in asdict(flags).items() if value for word in (f"--{name}", value)]
    return (
        f"Changed {', '.join(changed)}. What runs stays as it is until the next deployment: "
        f"`{shlex.join(['trackside', 'deploy', *flag_words])}`."
    )


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Settings of a service: get, set, unset.", rich_markup_mode=None)
    group.command()(get)
    group.command("set")(set_settings)
    group.command()(unset)
    app.add_typer(group, name="config")
