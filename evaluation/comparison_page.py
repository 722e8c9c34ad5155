"""A comparison on disk: `comparison.json` for programs, `comparison.html` for people (one file, no network)."""

from pathlib import Path

from evaluation.comparison import Comparison, comparison_tables
from evaluation.report import MAX_ROWS, page_template
from stage.files import write_json, write_text


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write both files into a folder, the page last."""
    write_json(folder / "comparison.json", comparison.to_json())
    page = page_template("comparison.html.jinja").render(
        title="viewforge comparison", comparison=comparison_tables(comparison, MAX_ROWS)
    )
    write_text(folder / "comparison.html", page)
