"""`viewforge database`: the databases of Prefect's and MLflow's servers."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The databases of Prefect's and MLflow's servers.", no_args_is_help=True)
    group.callback()(_group)
    group.command()(copy)
    app.add_typer(group, name="database", rich_help_panel="Installation")


def _group() -> None:
    """Keep `copy` a subcommand, though it is the only one."""


def copy(
    source: Annotated[Path, typer.Argument(help="SQLite file, such as mlflow/mlflow.db or .prefect/prefect.db.")],
    target: Annotated[
        str,
        typer.Argument(
            help="Empty PostgreSQL database: postgresql://USER@HOST:PORT/NAME. The password comes from PGPASSWORD or PGPASSFILE."
        ),
    ],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Copy a SQLite database of Prefect, MLflow or MLflow's basic authentication to PostgreSQL, whole or not at all."""
    opened(workspace)
    from services.databases import copy as copy_database

    copied = copy_database(source, target)
    filled = sum(contents.rows > 0 for contents in copied.tables.values())
    print(f"database: {copied.rows} rows of {filled} tables of {' and '.join(copied.kinds)} copied and compared")
