"""The report: one HTML file that needs no network and no other file, and has the same bytes for the same inputs.

Reads `data/evaluation/` and, where they are at hand, the loss curve and the tables of earlier stages. The stage itself writes it
before any decision; `viewforge promote` writes it again with one.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from evaluation.geometry_section import geometry_section
from evaluation.headline import BASELINES, sentences, verdict
from evaluation.loss_curve import loss_svg, read_loss
from evaluation.problems import earlier_problems
from evaluation.scores import METHODS
from geometry.perceptual import NOT_AVAILABLE
from stage.errors import InputError
from stage.files import write_text
from stage.pages import page_environment
from stage.workspace import Workspace

_TEMPLATE = "report.html.jinja"
# A page with more rows than this is no longer read; the parquet file has all.
MAX_ROWS = 200
_SUBSETS = ("unseen", "training")
_PICTURES = ("contact_sheet.png", "gallery_unseen.png", "gallery_training.png")


def write_report(workspace: Workspace, path: Path, decision: dict[str, Any] | None) -> None:
    """Write the report of a workspace's evaluation to `path`."""
    write_text(path, build_report(workspace, decision))


def build_report(workspace: Workspace, decision: dict[str, Any] | None) -> str:
    """The report as HTML.

    Args:
        workspace: whose evaluation is reported.
        decision: the promotion decision (model, version, promoted, gate, alias, reasons, checks); None before there is one.

    Raises:
        InputError: when there is no evaluation.
    """
    metrics = _read_json(workspace.evaluation / "metrics.json")
    details = _read_json(workspace.evaluation / "details.json")
    table = pd.read_parquet(workspace.evaluation / "per_object.parquet")
    curve = read_loss(workspace.training_report / "loss.csv")
    objects = _object_rows(table)
    return _template().render(
        metrics=metrics,
        settings=details["settings"],
        shown=details["gallery_objects"],
        verdict=verdict(metrics),
        sentences=sentences(metrics, table),
        best=_best(metrics, details["metrics"]),
        methods=METHODS,
        metric_titles=_titles(details["metrics"]),
        subsets=_SUBSETS,
        objects=objects[:MAX_ROWS],
        objects_total=len(objects),
        geometry=geometry_section(metrics, details, table, MAX_ROWS),
        curve=loss_svg(curve) if curve else None,
        pictures={Path(name).stem: _data_uri(workspace.evaluation / name) for name in _PICTURES},
        problems=[*(problem.row() for problem in earlier_problems(workspace)), *details["problems"]],
        decision=decision,
    )


def _template() -> Any:  # noqa: ANN401 - jinja2's template renders anything
    environment = page_environment(Path(__file__).parent)
    environment.filters["figure"] = _figure
    environment.filters["number"] = _number
    return environment.get_template(_TEMPLATE)


def _figure(value: float | str | None, metric: str) -> str:
    """A metric's value as text: dB with two digits, similarities with three; what is no number stays words."""
    if value is None or isinstance(value, str):
        return value or NOT_AVAILABLE
    return f"{value:.2f}" if metric == "psnr" else f"{value:.3f}"


def _number(value: float | str | None) -> str:
    """A figure of a check; what is no number stays words."""
    return f"{value:.4g}" if isinstance(value, int | float) else value or NOT_AVAILABLE


def _titles(definitions: list[dict[str, Any]]) -> dict[str, str]:
    """Each metric's title with its unit and an arrow to the better side."""
    arrows = {"higher": "↑", "lower": "↓"}
    return {
        d["name"]: f"{', '.join(filter(None, (d['title'], d['unit'])))} {arrows[d['better']]}" for d in definitions
    }


def _best(metrics: dict[str, Any], definitions: list[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """The methods with the best figure of each metric in each subset; none where the metric is not available."""
    return {subset: {d["name"]: _winners(metrics[subset], d) for d in definitions} for subset in _SUBSETS}


def _winners(figures: dict[str, dict[str, Any]], definition: dict[str, Any]) -> list[str]:
    numbers = {method: figures[method][definition["name"]] for method in METHODS}
    if any(isinstance(value, str) for value in numbers.values()):
        return []
    best = (max if definition["better"] == "higher" else min)(numbers.values())
    return [method for method, value in numbers.items() if value == best]


def _object_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row an object, worst first by the model's PSNR, with its gain over the better baseline."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for record in table.to_dict("records"):
        about = {name: record[name] for name in ("subset", "uid", "title")}
        row = rows.setdefault((record["subset"], record["uid"]), {**about, "psnr": {}, "ssim": {}})
        row["psnr"][record["method"]] = record["psnr"]
        row["ssim"][record["method"]] = record["ssim"]
    for row in rows.values():
        row["gain"] = row["psnr"]["model"] - max(row["psnr"][name] for name in BASELINES)
    return sorted(rows.values(), key=lambda row: (row["psnr"]["model"], row["uid"]))


def _data_uri(path: Path) -> Markup | None:
    """A picture as a `data:` address; None when it is absent."""
    if not path.is_file():
        return None
    return Markup("data:image/png;base64," + base64.b64encode(path.read_bytes()).decode())  # noqa: S704 - base64


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no evaluation {path}", "run viewforge evaluate first") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged: {error}", "run viewforge evaluate again") from None
    return document
