"""The report: one HTML file that needs no network and no other file, and has the same bytes for the same inputs.

The stage writes it before any decision, and `viewforge promote` writes it again with one (`write_report`): it reads
`data/evaluation/` and, where they are at hand, the loss curve and the tables of earlier stages. `report_of` reports any folder of
scores, without a model, shards or a training.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluation.comparison import Comparison, comparison_tables
from evaluation.evaluated_folder import EvaluatedFolder
from evaluation.geometry_section import geometry_section
from evaluation.headline import sentences, verdict
from evaluation.loss_curve import loss_svg, read_loss
from evaluation.methods import METHOD_TITLES, TRUTH
from evaluation.page_template import MAX_ROWS, page_template
from evaluation.problems import earlier_problems
from evaluation.published.tables import COLUMNS, by_protocol, read_published
from evaluation.reconstruction_section import reconstruction_section
from evaluation.report_facts import facts, incomplete, protocol_name
from evaluation.report_sections import (
    baseline_pairings,
    heading,
    metric_tables,
    object_table,
)
from evaluation.strips import STRIPS_FILE, Strip, read_strips
from evaluation.view_curves import view_charts
from stage.files import write_text
from stage.workspace import Workspace

_PICTURES = ("contact_sheet.png", "gallery_unseen.png", "gallery_training.png")


@dataclass(frozen=True)
class StageParts:
    """What the report of a workspace shows beside its scores."""

    curve: Markup | None
    """The training loss."""
    problems: list[dict[str, str]]
    """Of earlier stages."""
    decision: dict[str, Any] | None
    """The promotion decision (model, version, promoted, gate, alias, reasons, checks); None before there is one."""


def write_report(workspace: Workspace, path: Path, decision: dict[str, Any] | None) -> None:
    """Write the report of a workspace's evaluation to `path`."""
    write_text(path, build_report(workspace, decision))


def build_report(workspace: Workspace, decision: dict[str, Any] | None) -> str:
    """The report of a workspace as HTML.

    Args:
        workspace: whose evaluation is reported.
        decision: the promotion decision; None before there is one.

    Raises:
        InputError: when there is no evaluation.
    """
    result = EvaluatedFolder.read(workspace.evaluation)
    curve = read_loss(workspace.training_report / "loss.csv")
    problems = [problem.row() for problem in earlier_problems(workspace)]
    return _rendered(result, "viewforge report", StageParts(loss_svg(curve) if curve else None, problems, decision))


def report_of(folder: Path, title: str = "viewforge report", comparison: Comparison | None = None) -> str:
    """The report of a folder of scores as HTML.

    Args:
        folder: what `EvaluatedFolder` reads.
        title: of the page.
        comparison: with another folder, shown where there is one.

    Raises:
        InputError: when it holds no evaluation, or a damaged one.
    """
    return _rendered(EvaluatedFolder.read(folder), title, None, comparison)


def _rendered(
    result: EvaluatedFolder, title: str, parts: StageParts | None, comparison: Comparison | None = None
) -> str:
    """The page; without parts of a stage it shows scores alone."""
    details = result.details
    problems = [*(parts.problems if parts else []), *details.get("problems", [])]
    return page_template("report.html.jinja").render(
        title=title,
        verdict=verdict(result.metrics),
        sentences=sentences(result.metrics, result.objects),
        incomplete=incomplete(result),
        facts=facts(result),
        from_stage=parts is not None,
        with_decision=parts is not None,
        decision=parts.decision if parts else None,
        curve=parts.curve if parts else None,
        shown=details.get("gallery_objects", {}),
        pictures={Path(name).stem: _address(result.folder / name) for name in _PICTURES},
        methods=[method for method in result.methods if method != TRUTH],
        **_figures(result),
        **_published(result),
        comparison=comparison_tables(comparison, MAX_ROWS) if comparison else None,
        charts=_charts(result),
        strips=_strip_groups(read_strips(result.folder / STRIPS_FILE)),
        objects=object_table(result, MAX_ROWS),
        geometry=geometry_section(result.metrics, details, result.objects, MAX_ROWS),
        reconstruction=reconstruction_section(result.metrics, details, result.objects, MAX_ROWS),
        problems=problems[:MAX_ROWS],
        problems_total=len(problems),
    )


def _figures(result: EvaluatedFolder) -> dict[str, Any]:
    """What the section of metrics shows."""
    titles = {definition.name: definition.title for definition in result.definitions} | METHOD_TITLES
    return {
        "metric_tables": metric_tables(result),
        "headings": [heading(definition) for definition in result.definitions],
        "definitions": result.definitions,
        "pairs": baseline_pairings(result),
        "unavailable": {titles.get(k, k): reason for k, reason in result.metrics.get("unavailable", {}).items()},
    }


def _published(result: EvaluatedFolder) -> dict[str, Any]:
    """Published tables, those of the evaluation's protocol apart."""
    files, protocol = read_published(), protocol_name(result)
    fitting, others = by_protocol(files, protocol)
    return {
        "protocol": protocol,
        "fitting": fitting,
        "others": others,
        "protocol_fits": bool(fitting),
        "published_objects": result.metrics.get("source") == "gso",
        "published_notes": [file for file in files if file.note],
        "columns": COLUMNS,
    }


def _charts(result: EvaluatedFolder) -> list[dict[str, Any]]:
    if result.views.empty:
        return []
    found = []
    for subset in result.subsets:
        rows = result.views[result.views["subset"] == subset]
        charts = view_charts(rows, result.definitions, result.methods, METHOD_TITLES)
        found.append({"subset": subset, "charts": [chart for chart in charts if chart.azimuth or chart.elevation]})
    return [entry for entry in found if entry["charts"]]


def _strip_groups(strips: list[Strip]) -> list[dict[str, Any]]:
    """Strips by subset, each as the template shows it."""
    return [
        {
            "title": f"{subset} objects",
            "strips": [
                {**vars(strip), "address": _data("image/webp", strip.webp)}
                for strip in strips
                if strip.subset == subset
            ],
        }
        for subset in dict.fromkeys(strip.subset for strip in strips)
    ]


def _address(path: Path) -> Markup | None:
    """A picture as a `data:` address; None when it is absent."""
    return _data("image/png", path.read_bytes()) if path.is_file() else None


def _data(kind: str, content: bytes) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")  # noqa: S704 - base64
