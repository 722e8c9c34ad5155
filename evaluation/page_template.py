"""The templates of this room's pages, in the folder `page/`, with what all of them know."""

from pathlib import Path
from typing import Any

from evaluation.methods import METHOD_TITLES
from geometry.perceptual import NOT_AVAILABLE
from stage.pages import page_environment

# A page with more rows than this is no longer read; the parquet file has all.
MAX_ROWS = 2000
ARROWS = {"higher": "↑", "lower": "↓"}
_FOLDER = Path(__file__).parent / "page"


def page_template(name: str) -> Any:  # noqa: ANN401 - jinja2's template renders anything
    """A template by its name."""
    environment = page_environment(_FOLDER)
    environment.filters["number"] = _number
    environment.globals.update(titles=METHOD_TITLES, arrows=ARROWS)
    return environment.get_template(name)


def _number(value: float | str | None) -> str:
    """A figure of a check; what is no number stays words."""
    return f"{value:.4g}" if isinstance(value, int | float) else value or NOT_AVAILABLE
