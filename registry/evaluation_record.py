"""One evaluation of one model as the gate reads it: its figures, those of each object, and what they were measured on.

It travels as three files, `metrics.json`, `per_object.parquet` and `basis.json`, in a folder of the version's run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.parameters import EvaluateParameters
from evaluation.reconstruction_figures import PREFIX, column
from geometry.perceptual import NOT_AVAILABLE
from registry.evaluated import METRICS_FILE, read_metrics
from stage.errors import InputError
from stage.files import file_sha256, json_sha256, write_json

OBJECTS_FILE = "per_object.parquet"
BASIS_FILE = "basis.json"
MODEL = "model"
_REMEDY = "run viewforge evaluate"
# Of the pipeline, not of the evaluation: where parameters leave it open, each model steps as it was saved.
_OF_THE_MODEL = {"scheduler"}
_SUBSETS = ("unseen", "training")
# Parts of `metrics.json` with settings of their own, which say nothing of the other figures.
_PARTS = ("geometry", PREFIX)


@dataclass(frozen=True, eq=False)
class EvaluationRecord:
    """An evaluation.

    Args:
        metrics: the content of `metrics.json`.
        objects: `per_object.parquet`: a row an object and method.
        basis: what the figures were measured on and how (`basis_of`).
    """

    metrics: Mapping[str, Any]
    objects: pd.DataFrame
    basis: Mapping[str, Any]

    def figure(self, metric: str, subset: str, method: str = MODEL) -> float | None:
        """A mean as a finite number, or None where it is missing, "not available" or NaN.

        Args:
            metric: a name, or a dotted place in `metrics.json`; the latter is the model's alone.
            subset: unseen or training.
            method: the model or a baseline.
        """
        dotted = "." in metric
        if dotted and method != MODEL:
            return None
        value: Any = self.metrics
        for part in metric.split(".") if dotted else (subset, method, metric):
            value = value.get(part) if isinstance(value, Mapping) else None
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if number and value is not None else None

    def why_missing(self, metric: str) -> str:
        """The reason that the evaluation gives for a figure that it has not; empty where it gives none."""
        name = metric.rpartition(".")[2]
        unavailable = self.metrics.get("unavailable")
        reason = unavailable.get(name) if isinstance(unavailable, Mapping) else None
        return f" ({NOT_AVAILABLE}: {reason})" if reason else ""

    def of_objects(self, metric: str, subset: str) -> "pd.Series[float] | None":
        """The model's finite figures by uid; None of a figure that objects have not, as that of a whole set."""
        name, subset = _column(metric), _subset(metric, subset)
        if name not in self.objects.columns:
            return None
        rows = self.objects[(self.objects["subset"] == subset) & (self.objects["method"] == MODEL)]
        values = pd.to_numeric(rows.set_index("uid")[name], errors="coerce")
        finite: pd.Series[float] = values[values.abs() < math.inf]
        return finite

    def categories(self, subset: str) -> "pd.Series[str]":
        """Categories of a subset's objects by uid; empty for an object without."""
        rows = self.objects[(self.objects["subset"] == subset) & (self.objects["method"] == MODEL)].set_index("uid")
        if "category" not in rows.columns:
            return pd.Series("", index=rows.index, dtype=object)
        return rows["category"].fillna("")

    def differences(self, other: "EvaluationRecord", metrics: Sequence[str]) -> list[str]:
        """In what two evaluations differ, so that their figures do not compare; empty when they do.

        Args:
            other: of another model.
            metrics: the figures that are to be compared.
        """
        kinds = ["data_sha256", "protocol", "source", "views", "sampler"]
        kinds += [part for part in _PARTS if names_part(metrics, part)]
        found = [_difference(kind, self.basis.get(kind), other.basis.get(kind)) for kind in kinds]
        names = {metric.rpartition(".")[2] for metric in metrics}
        ours, theirs = (record.basis.get("metrics") or {} for record in (self, other))
        found += [_difference(f"the definition of {n}", ours.get(n), theirs.get(n)) for n in sorted(names)]
        return [words for words in found if words]


def read_record(folder: Path, parameters: EvaluateParameters) -> EvaluationRecord:
    """The evaluation in a workspace's `data/evaluation/`.

    Args:
        folder: that.
        parameters: of the evaluation.

    Raises:
        InputError: when it is missing or not whole.
    """
    metrics = read_metrics(folder / METRICS_FILE)
    return EvaluationRecord(metrics, _objects(folder), basis_of(metrics, _json(folder / "details.json"), parameters))


def stored_record(folder: Path) -> EvaluationRecord:
    """An evaluation that `store` wrote.

    Raises:
        InputError: when it is missing or not whole.
    """
    return EvaluationRecord(read_metrics(folder / METRICS_FILE), _objects(folder), _json(folder / BASIS_FILE))


def store(record: EvaluationRecord, folder: Path) -> None:
    """Write the three files into a folder."""
    write_json(folder / METRICS_FILE, dict(record.metrics))
    record.objects.to_parquet(folder / OBJECTS_FILE, index=False)
    write_json(folder / BASIS_FILE, dict(record.basis))


def basis_of(metrics: Mapping[str, Any], details: Mapping[str, Any], parameters: EvaluateParameters) -> dict[str, Any]:
    """What two evaluations must share for their figures to compare: data, protocol, sampler and metric definitions.

    Args:
        metrics: the content of `metrics.json`.
        details: that of `details.json`.
        parameters: for the sampler's steps, which `details.json` gives as the pipeline's class.
    """
    settings = details.get("settings") or {}
    sampler = {key: value for key, value in settings.items() if key not in _OF_THE_MODEL}
    return {
        **{key: metrics.get(key) for key in ("data_sha256", "protocol", "source", "views")},
        "sampler": {**sampler, "scheduler": parameters.scheduler or "as saved"},
        "metrics": {entry["name"]: json_sha256(entry)[:12] for entry in details.get("metrics") or ()},
        **{part: json_sha256(details[part])[:12] if details.get(part) else None for part in _PARTS},
    }


def names_part(metrics: Sequence[str], part: str) -> bool:
    """Whether one of the figures lies in a part of `metrics.json`, as `geometry.unseen.chamfer_l1` in `geometry`."""
    return any(metric.startswith(f"{part}.") for metric in metrics)


def record_sha256(folder: Path) -> str:
    """Hash of a stored record's files, by which it is found again."""
    names = (METRICS_FILE, OBJECTS_FILE, BASIS_FILE)
    return json_sha256([file_sha256(folder / name) for name in names])


def _column(metric: str) -> str:
    """Of the table of objects: a reconstruction's figures stand beside those of a mesh that the model made itself."""
    name = metric.rpartition(".")[2]
    return column(name) if names_part([metric], PREFIX) else name


def _subset(metric: str, subset: str) -> str:
    """The subset that a dotted place lies in, or the one that is asked for."""
    return next((part for part in metric.split(".")[:-1] if part in _SUBSETS), subset)


def _difference(kind: str, ours: Any, theirs: Any) -> str:  # noqa: ANN401 - JSON values
    if ours == theirs:
        return ""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        return f"{kind} ({', '.join(f'{key} {theirs.get(key)} against {ours.get(key)}' for key in keys)})"
    return f"{kind} ({str(theirs)[:12]} against {str(ours)[:12]})"


def _objects(folder: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(folder / OBJECTS_FILE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / OBJECTS_FILE} cannot be read ({reason})", _REMEDY) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", _REMEDY) from None
    return values
