"""`viewforge backup` and `viewforge recover`: the databases and the configuration of a workspace, copied and put back."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened

_PANEL = "Upkeep"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(backup)
    app.command(rich_help_panel=_PANEL)(recover)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where backups are kept; best on another disk.")],
    keep: Annotated[int, typer.Option(min=1, help="Backups of this workspace that are kept; older ones go.")] = 7,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Copy the SQLite databases of Prefect and MLflow, dvc.lock, parameters and configuration, while servers run."""
    place = opened(workspace)
    from upkeep.backups import back_up

    made = back_up(place, folder, keep)
    files = [path for path in made.rglob("*") if path.is_file()]
    print(f"backup: {made}, {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes")


def recover(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A backup, or the folder of backups: its newest.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also replace parameters and configuration that differ.")
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Put a backup's databases in place, and files that are absent. What was there is put aside."""
    place = opened(workspace)
    from upkeep.backups import recover as recovered

    found = recovered(place, folder, everything)
    print(f"recover: from {found.backup}")
    for path in (*found.databases, *found.files):
        print(f"recover: {path} is back")
    for path in found.aside:
        print(f"recover: what was there is now {path}")
    for path in found.differing:
        print(f"recover: {path} differs from the backup and was left; --all replaces it")
