"""`viewforge gc`: what an installation need not keep, listed or deleted."""

from collections import defaultdict
from typing import Annotated, Any

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import StageFailedError
from stage.parameters import load_section

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Pipeline")(gc)


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without, it is only listed.")] = False,
    all_: Annotated[bool, typer.Option("--all", help=f"List more than {_SHOWN} of a kind.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """List what nobody needs any more: MLflow runs, models and artifacts, DVC's cache, scratch, logs; --delete removes it."""
    place = opened(workspace)
    from upkeep.retention import collect
    from upkeep.retention_parameters import RetentionParameters

    outcome = collect(place, load_section(place.parameters, "retention", RetentionParameters), delete=delete)
    _list(outcome.deleted if delete else outcome.found, _SHOWN if not all_ else None)
    verb = "deleted" if delete else "could be deleted (viewforge gc --delete)"
    items = outcome.deleted if delete else outcome.found
    print(f"gc: {len(items)} things, {_size(sum(item.bytes for item in items))}, {verb}")
    for line in outcome.left:
        print(f"gc: left: {line}")
    if delete and outcome.left:
        raise StageFailedError(f"{len(outcome.left)} things are left, as listed", "run viewforge gc again later")


def _list(items: list[Any], most: int | None) -> None:
    """A line an item, and one with the sum of each kind."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        kinds[item.kind].append(item)
    for kind, members in kinds.items():
        for item in members[:most]:
            print(f"{kind:<13} {_size(item.bytes):>10}  {item.name}  {item.why}")
        if most is not None and len(members) > most:
            print(f"{kind:<13} {'':>10}  and {len(members) - most} more (--all)")
        print(f"{kind:<13} {_size(sum(item.bytes for item in members)):>10}  in all, {len(members)}")


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
