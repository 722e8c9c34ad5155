"""`viewforge catalog`: the stage that lists the objects; below it, what a catalogue holds and whom its objects are owed to."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import HERE, WORKSPACE_VARIABLE, WorkspaceOption, opened
from stage.changes import Changes
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from upkeep.under_dvc import under_dvc

if TYPE_CHECKING:
    from rich.table import Table

    from catalog.stats import Group
    from catalog.table import Asset

# Reasons that fewer objects share are shown object by object.
_FEW = 5
_ROWS = 20


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(invoke_without_command=True, callback=catalog)
    group.command()(stats)
    group.command()(attribution)
    app.add_typer(group, name="catalog", rich_help_panel="Stages")


def catalog(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """List the objects to work on: compose them, read a folder of assets, or download them."""
    if context.invoked_subcommand:
        # For `viewforge catalog --workspace DIR stats`.
        os.environ[WORKSPACE_VARIABLE] = str(workspace)
        return
    from catalog.build import build_catalog
    from catalog.parameters import CatalogParameters

    place = opened(workspace)
    parameters = load_section(place.parameters, "catalog", CatalogParameters)
    changes = Changes()
    with exclusive(place, "catalog"), under_dvc(place, "catalog"):
        assets = build_catalog(parameters, load_seed(place.parameters), place, changes)
    print(f"catalog: {changes.line('packs', 'new')}")
    print(f"catalog: {sum(asset.selected for asset in assets)} of {len(assets)} objects selected")
    _print_left_out(assets)


def _print_left_out(assets: Iterable["Asset"]) -> None:
    from catalog.stats import left_out

    for reason, group in left_out(assets).items():
        if len(group) > _FEW:
            print(f"catalog: left out {len(group)} objects: {reason}")
        else:
            for asset in group:
                print(f"catalog: left out {asset.title}: {asset.reason}")


def stats(
    plot: Annotated[Path | None, typer.Option(help="Also write bar charts as a PNG file.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Count the catalogue's objects by source, licence, file type, split, size and status."""
    from rich.console import Console

    from catalog.stats import count, write_plot
    from catalog.table import read_table

    assets = read_table(opened(workspace).catalog / "catalog.parquet")
    console = Console()
    for by, groups in count(assets).items():
        console.print(_table(by, groups, len(assets)))
        console.print()
    if plot:
        write_plot(plot, assets)
        print(f"catalog: charts in {plot}")


def _table(by: str, groups: list["Group"], total: int) -> "Table":
    """A table of groups; of many only the largest."""
    from rich.table import Table
    from rich.text import Text

    from catalog.stats import size_text

    table = Table(box=None, pad_edge=False)
    table.add_column(by, header_style="bold", overflow="fold")
    for name in ("objects", "share", "size"):
        table.add_column(name, justify="right")
    for group in groups[:_ROWS]:
        share = f"{group.objects / total:.1%}"
        # Reasons and licences are texts of others: no markup.
        table.add_row(Text(group.name), f"{group.objects:,}", share, size_text(group.bytes))
    return table


def attribution(
    shards: Annotated[Path | None, typer.Option(help="Shard set whose objects are listed.")] = None,
    model: Annotated[Path | None, typer.Option(help="Trained pipeline whose training objects are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file; standard output if absent.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """List title, author, source and licence of all selected objects, of a shard set, or of what a model saw."""
    from catalog.attribution import attribution as as_markdown
    from catalog.attribution import model_objects, selected_objects, shard_objects, uncredited
    from stage.files import write_text

    place = opened(workspace)
    if model:
        assets, what = model_objects(place, model, shards or place.shards), f"the model {model}"
    elif shards:
        assets, what = shard_objects(place, shards), f"the shards {shards}"
    else:
        assets, what = selected_objects(place), "the selected objects"
    text = as_markdown(assets, what)
    if out:
        write_text(out, text)
    else:
        print(text, end="")
    target = f" in {out}" if out else ""
    print(f"attribution: {len(assets)} objects{target}", file=sys.stderr)
    if missing := len(uncredited(assets)):
        print(
            f"attribution: author unknown, though the licence asks, or may ask, to name them: {missing}",
            file=sys.stderr,
        )
