"""`viewforge shards`: whether a shard set is as it was written, and what it holds."""

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
_FolderArgument = Annotated[Path | None, typer.Argument(help="Shard set; the workspace's own if absent.")]


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(no_args_is_help=True, help="Verify, count and exchange shard sets.")
    group.command()(verify)
    group.command()(stats)
    shard_exchange.add_to(group)
    app.add_typer(group, name="shards", rich_help_panel="Stages")


def verify(
    folder: _FolderArgument = None,
    workers: Annotated[int, typer.Option(min=0, help="Shards read side by side; 0 takes one per CPU core.")] = 0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Hash and count everything again; names shard, object and byte of any damage, and then fails."""
    from training.data.verify import verify as verified

    place = folder or opened(workspace).shards
    found = verified(place, workers)
    for damage in found.damages:
        print(f"shards: {damage}")
    print(
        f"shards: {found.objects:,} objects of {found.views:,} views in {found.shards:,} shards, {found.bytes:,} bytes"
    )
    if found.damages:
        raise InputError(
            f"{place} is damaged in {len(found.damages)} places",
            "restore it with dvc pull, or write it anew with viewforge shard --compact",
        )


def stats(folder: _FolderArgument = None, workspace: WorkspaceOption = HERE) -> None:
    """Count objects, views and bytes by split, licence and source, and what compacting would remove."""
    from rich.console import Console

    from training.data.stats import count

    found = count(folder or opened(workspace).shards)
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
