"""`viewforge verify`: whether everything that is stored is as it was written."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Upkeep")(verify)


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put damaged files aside, so that DVC or the next stage brings them back.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Hash everything again: assets, packs, shards, DVC's cache, databases, registered models. Fails when anything is wrong."""
    place = opened(workspace)
    from upkeep.verification import verify as verified

    found = verified(place, repair)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        for line in (*found.findings, *(f"not looked at: {what}" for what in found.skipped)):
            print(f"verify: {line}")
        speed = found.bytes / 1e6 / max(found.seconds, 0.1)
        print(f"verify: {found.checked:,} things, {found.bytes:,} bytes in {found.seconds:,.0f} s, {speed:,.0f} MB/s")
    if not found.sound:
        number = len(found.findings)
        raise InputError(
            f"{place.root.resolve()} is damaged in {number} place{'s' if number > 1 else ''}",
            "do what stands beside each; docs/runbook.md says more",
        )
