"""`viewforge shards`: what is done with shards beside writing them, which `viewforge shard` does."""

import typer

from cli import shard_exchange


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(help="Exchange shards with other programs' layouts.", no_args_is_help=True)
    shard_exchange.add_to(group)
    app.add_typer(group, name="shards", rich_help_panel="Stages")
