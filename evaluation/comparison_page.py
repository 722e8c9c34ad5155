"""A comparison on disk: `comparison.json` for programs, `comparison.html` for people (one file, no network)."""

from pathlib import Path

from evaluation.comparison import Comparison, comparison_tables
from evaluation.page_template import MAX_ROWS, page_template
from stage.files import write_json, write_text

_RELATIONS = {"better": "better than", "worse": "worse than", "undecided": "neither better nor worse than"}


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write both files into a folder, the page last."""
    write_json(folder / "comparison.json", comparison.to_json())
    page = page_template("comparison.html.jinja").render(
        title="viewforge comparison", verdict=verdict(comparison), comparison=comparison_tables(comparison, MAX_ROWS)
    )
    write_text(folder / "comparison.html", page)


def verdict(comparison: Comparison) -> str:
    """One sentence: what the first figure says."""
    first, (ours, theirs) = comparison.pairings[0], comparison.names
    objects = f"{first.difference.count} {first.subset} object{'' if first.difference.count == 1 else 's'}"
    where = f"as far as {objects} can tell" if first.outcome == "undecided" else f"on {objects}"
    return f"{ours} is {_RELATIONS[first.outcome]} {theirs} in {first.metric.title}, {where}."
