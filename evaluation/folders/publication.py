"""What a scored folder is published as: `metrics.json`, the tables, `details.json`. The same inputs give the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.comparison import Comparison
from evaluation.folders.galleries import strips
from evaluation.folders.layout import ObjectFiles
from evaluation.folders.meshes import ALIGNMENTS
from evaluation.folders.parameters import FolderParameters
from evaluation.folders.result import FolderResult
from evaluation.mesh_figures import definitions
from evaluation.methods import MODEL, TRUTH
from evaluation.metrics.metric_set import MetricSet
from evaluation.problems import Problem
from evaluation.protocol import SubsetName
from evaluation.report import report_of
from evaluation.scores import ObjectScores, TargetPose, mesh_summary, per_object_table, per_view_table
from evaluation.statistics import bootstrap_mean
from evaluation.strips import STRIPS_FILE, write_strips
from geometry.perceptual import NOT_AVAILABLE
from stage.files import json_sha256, replacing, write_json, write_text

# The name that the tables of other evaluations have for what counts; whether a system has seen the objects nobody can tell here.
SUBSET: SubsetName = "unseen"
PROTOCOL = "folder"
COMPARISON_FILE = "comparison.json"
_DIGITS = 4


@dataclass(frozen=True)
class FolderEvaluation:
    """A scored folder."""

    predictions: Path
    truth: Path
    parameters: FolderParameters
    asked: MetricSet
    results: Mapping[str, FolderResult]
    """By object, sorted."""
    failures: Mapping[str, str]
    """Why the truth's other objects have no figures, by object, sorted."""
    unknown: Sequence[str]
    """Predicted objects that the truth does not have."""
    pictures: bool
    """Whether pictures were scored."""
    meshes: bool
    """Whether meshes were."""
    of_set: Mapping[str, Mapping[str, float]]
    """Figures of all objects at once, by method."""
    kept: int
    """Results of an earlier run that are still valid."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What was scored: the predictions, and the copy of the input view where one is named."""
        return (MODEL,) if self.parameters.input_view is None else (MODEL, "copy_input")

    @property
    def missing(self) -> dict[str, str]:
        """Why objects lack figures, those without a mesh's alone among them."""
        lacking = {uid: f"mesh figures {r.mesh.note}" for uid, r in self.results.items() if r.mesh and r.mesh.missing}
        return dict(sorted({**self.failures, **lacking}.items()))

    @property
    def total(self) -> int:
        """Objects of the truth."""
        return len(self.results) + len(self.failures)

    def scores(self) -> list[ObjectScores]:
        """The results as rows of the tables are made of."""
        return [_scores(uid, result) for uid, result in self.results.items()]

    def metrics(self) -> dict[str, Any]:
        """Figures with how many objects they are of; nothing in them depends on time, machine or where the folders lie."""
        scores = self.scores()
        names = self.asked.names if self.pictures else ()
        counts = sorted({len(result.views) for result in self.results.values()})
        return {
            "protocol": PROTOCOL,
            "source": "objects of a folder",
            "objects": len(self.results),
            f"{SUBSET}_objects": len(self.results),
            "objects_of_truth": self.total,
            "complete": not self.missing,
            "missing": self.missing,
            "without_truth": list(self.unknown),
            "views": counts[0] if len(counts) == 1 else counts,
            "pairs": sum(len(result.views) for result in self.results.values()),
            "data_sha256": self._data_sha256(),
            "predictions_sha256": json_sha256([[uid, r.prediction_sha256] for uid, r in self.results.items()]),
            SUBSET: {m: {name: self._mean(scores, m, name) for name in names} for m in self.methods} | _truth(scores),
            "intervals": {SUBSET: {method: _intervals(scores, method, names) for method in self.methods}},
            "unavailable": self._unavailable(scores),
            **({"geometry": {SUBSET: self._geometry(scores)}} if self.meshes else {}),
        }

    def _data_sha256(self) -> str:
        """Hash of what predictions are scored on: the true bytes of each object, and which view of them is given."""
        return json_sha256([self.parameters.input_view, [[uid, r.truth_sha256] for uid, r in self.results.items()]])

    def _mean(self, scores: Sequence[ObjectScores], method: str, name: str) -> float | str:
        """A figure of all objects."""
        if name in self.of_set.get(method, {}):
            return round(self.of_set[method][name], _DIGITS)
        values = _values(scores, method, name)
        return round(float(np.mean(values)), _DIGITS) if values else NOT_AVAILABLE

    def _unavailable(self, scores: Sequence[ObjectScores]) -> dict[str, str]:
        """Why figures are not available: here, or of any of these objects."""
        lacking = {name: why for result in self.results.values() for name, why in result.unavailable.items()}
        none = {name: why for name, why in lacking.items() if not _values(scores, MODEL, name)}
        return {**none, **self.asked.unavailable}

    def _geometry(self, scores: Sequence[ObjectScores]) -> dict[str, Any]:
        return mesh_summary(scores, tuple(definitions(self.parameters.geometry)))

    def details(self) -> dict[str, Any]:
        """What the report says beside the figures."""
        return {
            "settings": self._settings(),
            "metrics": [asdict(definition) for definition in self.asked.definitions] if self.pictures else [],
            "problems": [problem.row() for problem in self._problems()],
            "gallery_objects": {SUBSET: 0, "training": 0},
            **({"geometry": self.parameters.geometry.model_dump(mode="json")} if self.meshes else {}),
        }

    def _settings(self) -> dict[str, Any]:
        settings = self.parameters
        sizes = sorted({result.size for result in self.results.values() if result.size})
        return {
            "resolution": ", ".join(f"{width}×{height}" for height, width in sizes) or NOT_AVAILABLE,
            "background": "white, composited by alpha",
            "values": "as the files hold them: 8 bits a channel of pictures, floats of arrays; another range is refused",
            "resize": f"{settings.resize}, of Pillow, to the truth's size"
            if settings.resize
            else "none: another size is refused",
            "input_view": "none: all views are scored" if settings.input_view is None else settings.input_view,
            **({"mesh_frame": ALIGNMENTS[settings.align], "mesh_yaw": self._yaw()} if self.meshes else {}),
        }

    def _yaw(self) -> str:
        """By how much true meshes are turned, so that other angles are told apart."""
        angles = self.parameters.yaw_deg
        return f"about Z for {len(angles)} objects ({json_sha256(angles)[:12]})" if angles else "none"

    def _problems(self) -> list[Problem]:
        stage = f"evaluate, {PROTOCOL}"
        rows = [Problem(stage, uid, uid, "quarantined", reason) for uid, reason in self.failures.items()]
        rows += [
            Problem(stage, uid, uid, "used", why) for uid, why in self.missing.items() if uid not in self.failures
        ]
        return rows + [Problem(stage, uid, uid, "left out", "the truth has no such object") for uid in self.unknown]


def publish(
    evaluation: FolderEvaluation,
    truth: Mapping[str, ObjectFiles],
    predictions: Mapping[str, ObjectFiles],
    output: Path,
) -> None:
    """Write all outputs, each whole, the report last."""
    # It would be of other figures.
    (output / COMPARISON_FILE).unlink(missing_ok=True)
    scores = evaluation.scores()
    tables = {"per_object": object_table(evaluation), "per_view": per_view_table(scores)}
    for name, table in tables.items():
        with replacing(output / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_json(output / "details.json", evaluation.details())
    write_json(output / "metrics.json", evaluation.metrics())
    write_strips(output / STRIPS_FILE, strips(evaluation, tables["per_object"], truth, predictions))
    write_folder_report(output)


def write_folder_report(output: Path, comparison: Comparison | None = None) -> None:
    """Write the report of a scored folder, with a comparison where there is one."""
    write_text(output / "report.html", report_of(output, "viewforge report: pictures of a folder", comparison))


def object_table(evaluation: FolderEvaluation) -> pd.DataFrame:
    """A row an object and method with the hashes of both sides, and one for each object without figures, which says why."""
    table = per_object_table(evaluation.scores())
    for side in ("truth_sha256", "prediction_sha256"):
        table[side] = [getattr(evaluation.results[uid], side) for uid in table["uid"]]
    table["failure"] = ""
    failed = pd.DataFrame(
        [
            {"uid": uid, "title": uid, "subset": SUBSET, "method": MODEL, "failure": reason}
            for uid, reason in evaluation.failures.items()
        ]
    )
    return table if failed.empty else pd.concat([table, failed], ignore_index=True)


def _scores(uid: str, result: FolderResult) -> ObjectScores:
    methods = {
        method: {name: round(float(np.mean(values)), _DIGITS) for name, values in figures.items()}
        | dict(result.object_figures.get(method, {}))
        for method, figures in result.figures.items()
    }
    poses = result.poses or tuple(_unknown_pose(view, number) for number, view in enumerate(result.views))
    figures = {method: dict(of) for method, of in result.figures.items()}
    return ObjectScores(
        uid,
        uid,
        SUBSET,
        methods or {MODEL: {}},
        mesh=result.mesh,
        truth=dict(result.object_figures.get(TRUTH, {})),
        poses=poses,
        view_figures=figures,
    )


def _unknown_pose(view: str, number: int) -> TargetPose:
    unknown = float("nan")
    return TargetPose(int(view) if view.isdecimal() else number, unknown, unknown, unknown)


def _values(scores: Sequence[ObjectScores], method: str, name: str) -> list[float]:
    return [s.methods[method][name] for s in scores if name in s.methods.get(method, {})]


def _truth(scores: Sequence[ObjectScores]) -> dict[str, dict[str, float]]:
    """The true views' own consistency, where it was measured: what a perfect prediction would get."""
    names = dict.fromkeys(name for score in scores for name in score.truth)
    means = {name: np.mean([s.truth[name] for s in scores if name in s.truth]) for name in names}
    return {TRUTH: {name: round(float(mean), _DIGITS) for name, mean in means.items()}} if means else {}


def _intervals(scores: Sequence[ObjectScores], method: str, names: Sequence[str]) -> dict[str, list[float]]:
    found = {name: values for name in names if (values := _values(scores, method, name))}
    intervals = {name: bootstrap_mean(np.array(values)) for name, values in found.items()}
    return {name: [round(of.low, _DIGITS), round(of.high, _DIGITS)] for name, of in intervals.items()}
