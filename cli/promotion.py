"""`viewforge promote`: register the workspace's model and put it before the gate, or a version that is registered already."""

from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.lifeline import exclusive
from stage.parameters import load_section


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(promote)


def promote(
    version: Annotated[
        str | None, typer.Option(help="Version to decide on; registers the workspace's model if absent.")
    ] = None,
    override: Annotated[str | None, typer.Option(help="Promote against the gate, for this reason.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Decide whether a model becomes champion, and write the decision into the registry and the report."""
    place = opened(workspace)
    from evaluation.report import write_report
    from registry.parameters import RegisterParameters
    from registry.promote import promote as decide
    from registry.register import register

    parameters = load_section(place.parameters, "register", RegisterParameters)
    # An alias moves without compare-and-set: two promotions at once could each believe to be the last.
    with exclusive(place, "promotion"):
        version = version or str(register(parameters, place).version)
        decision = decide(parameters, place, version=version, override=override).to_json()
    write_report(place, place.report, decision)
    verdict = "is champion" if decision["promoted"] else "is not promoted"
    print(f"promote: {decision['model']} version {decision['version']} {verdict}")
    for reason in decision["reasons"]:
        print(f"promote: {reason}")
