"""`viewforge card`: the model card of a registered version, as the registry is now."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError, StageFailedError
from stage.parameters import load_section


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(card)


def card(
    version: Annotated[
        str | None, typer.Argument(help="Version; the champion if absent, or the challenger where there is none.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Registered model; register.model_name if absent.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write it to the registry too, as promotions do.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Print the model card of a registered version: data, licences, figures, decision and provenance."""
    place = opened(workspace)
    from registry.card_publication import card_of, publish_cards
    from registry.client import CHALLENGER, CHAMPION, holders, open_registry
    from registry.parameters import RegisterParameters

    name = model or load_section(place.parameters, "register", RegisterParameters).model_name
    with open_registry(place) as client, tempfile.TemporaryDirectory(prefix="viewforge-card-") as folder:
        aliases = holders(client, name)
        number = version or aliases.get(CHAMPION) or aliases.get(CHALLENGER)
        if number is None:
            raise InputError(f"{name} has neither champion nor challenger", "name a version")
        text = card_of(client, name, number, Path(folder))
        written = publish_cards(client, name, [number]) if write else True
    print(text, end="")
    if not written:
        raise StageFailedError(
            f"the card of {name} version {number} is not in the registry", "its reason is said above"
        )
