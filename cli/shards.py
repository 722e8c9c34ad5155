"""`viewforge shards`: whether a shard set is as it was written, and what it holds."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import shard_exchange
from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from training.data.stats import ShardGroup

_ROWS = 20
_PlaceArgument = Annotated[
    str | None, typer.Argument(metavar="[PLACE]", help="Shard set, a folder or a URL; the workspace's own if absent.")
]


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(no_args_is_help=True, help="Verify, count and exchange shard sets.")
    group.command()(verify)
    group.command()(stats)
    shard_exchange.add_to(group)
    app.add_typer(group, name="shards", rich_help_panel="Stages")


def verify(
    place: _PlaceArgument = None,
    workers: Annotated[int, typer.Option(min=0, help="Shards read side by side; 0 takes one per CPU core.")] = 0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Hash and count everything again; names shard, object and byte of any damage, and then fails."""
    from training.data.verify import verify as verified

    where: Path | str = place or opened(workspace).shards
    started = time.perf_counter()
    found = verified(where, workers)
    speed = found.bytes / 1e6 / (time.perf_counter() - started)
    for damage in found.damages:
        print(f"shards: {damage}")
    counts = f"{found.objects:,} objects of {found.views:,} views in {found.shards:,} shards"
    print(f"shards: {counts}, {found.bytes:,} bytes, at {speed:,.0f} MB/s")
    if found.damages:
        raise InputError(
            f"{where} is damaged in {len(found.damages)} places",
            "restore it with dvc pull, or write it anew with viewforge shard --compact",
        )


def stats(place: _PlaceArgument = None, workspace: WorkspaceOption = HERE) -> None:
    """Count objects, views and bytes by split, licence and source, and what compacting would remove."""
    from rich.console import Console

    from training.data.stats import count

    found = count(place or opened(workspace).shards)
    console = Console()
    for by, groups in found.groups.items():
        console.print(_table(by, groups[:_ROWS]))
        console.print()
    console.print(_table("total", [found.total, found.tombstones]))


def _table(by: str, groups: list["ShardGroup"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from catalog.stats import size_text

    table = Table(box=None, pad_edge=False)
    table.add_column(by, header_style="bold", overflow="fold")
    for name in ("shards", "objects", "views", "size"):
        table.add_column(name, justify="right")
    for group in groups:
        # Licences and sources are texts of others: no markup.
        counts = (f"{number:,}" for number in (group.shards, group.objects, group.views))
        table.add_row(Text(group.name), *counts, size_text(group.bytes))
    return table
