"""`viewforge compare`: the models of two evaluations beside each other, object by object."""

from pathlib import Path
from typing import Annotated

import typer

from stage.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(compare)


def compare(
    ours: Annotated[Path, typer.Argument(help="A workspace with an evaluation, or a folder with its metrics.json.")],
    theirs: Annotated[Path, typer.Argument(help="Another one, of the same objects under the same protocol.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the page and the figures.")] = Path(
        "comparison"
    ),
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
) -> None:
    """Say which of two evaluated models is better, by paired differences over the same objects."""
    from evaluation.comparison import compare as compared
    from evaluation.comparison_page import write_comparison

    result = compared(_evaluation(ours), _evaluation(theirs), (str(ours), str(theirs)), confidence)
    write_comparison(result, output)
    for pairing in result.pairings:
        found, digits = pairing.difference, pairing.metric.digits + 1
        print(
            f"{pairing.subset} {pairing.metric.name}: {found.mean:+.{digits}f} "
            f"[{found.low:+.{digits}f}, {found.high:+.{digits}f}], better on {pairing.better_on} and worse on "
            f"{pairing.worse_on} of {found.count} objects: {pairing.outcome}"
        )
    for name, uids in result.alone.items():
        if uids:
            print(f"compare: {len(uids)} objects only in {name}, left out")
    print(f"compare: see {output / 'comparison.html'}")


def _evaluation(path: Path) -> Path:
    """The folder with the figures: of a workspace, or the given one."""
    inside = Workspace(path).evaluation
    return inside if (inside / "metrics.json").is_file() else path
