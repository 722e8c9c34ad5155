"""A folder with the outcome of an evaluation, as the stage and the scoring of pictures write it; reports and comparisons read it.

`metrics.json` and `per_object.parquet` are needed. `per_view.parquet`, `details.json` (settings, definitions, problems) and
`strips.parquet` are shown where they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.methods import METHODS
from evaluation.metrics.definitions import METRICS, MetricDefinition
from stage.errors import InputError

_REMEDY = "run viewforge evaluate again"
_DEFINITION_FIELDS = {field.name for field in fields(MetricDefinition)}


@dataclass(frozen=True)
class EvaluatedFolder:
    """What a folder holds.

    Args:
        folder: where the files lie.
        metrics: content of `metrics.json`.
        details: content of `details.json`; empty where there is none.
        objects: `per_object.parquet`.
        views: `per_view.parquet`; without rows where there is none.
    """

    folder: Path
    metrics: dict[str, Any]
    details: dict[str, Any]
    objects: pd.DataFrame
    views: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "EvaluatedFolder":
        """Read a folder.

        Raises:
            InputError: when it is no evaluation, or a file of it is damaged.
        """
        metrics = _read_json(folder / "metrics.json")
        if metrics is None:
            raise InputError(f"no evaluation {folder / 'metrics.json'}", "run viewforge evaluate first")
        objects = _read_table(folder / "per_object.parquet", {"subset", "uid", "method"})
        if objects is None:
            raise InputError(f"no table {folder / 'per_object.parquet'}", _REMEDY)
        views = _read_table(folder / "per_view.parquet", {"subset", "uid", "method"})
        details = _read_json(folder / "details.json") or {}
        return cls(folder, metrics, details, objects, pd.DataFrame() if views is None else views)

    @cached_property
    def subsets(self) -> list[str]:
        """Subsets in the order of the table, those that `metrics.json` has."""
        return [str(name) for name in dict.fromkeys(self.objects["subset"]) if name in self.metrics]

    @cached_property
    def methods(self) -> list[str]:
        """What was scored, the model first."""
        named = {str(method) for subset in self.subsets for method in self.metrics[subset]}
        return [name for name in METHODS if name in named] + sorted(named - set(METHODS))

    @cached_property
    def definitions(self) -> list[MetricDefinition]:
        """Of the figures about pictures, in the order in which they are shown: as they were when it was measured."""
        if "metrics" in self.details:
            return [MetricDefinition(**_known(values)) for values in self.details["metrics"]]
        named = {name for subset in self.subsets for figures in self.metrics[subset].values() for name in figures}
        return [definition for name, definition in METRICS.items() if name in named]

    def count(self, subset: str) -> int:
        """Objects of a subset that have figures; of a scored folder the table has rows of the others, with what failed."""
        rows = self.objects[self.objects["subset"] == subset]
        if "failure" in rows:
            rows = rows[rows["failure"] == ""]
        return int(rows["uid"].nunique())


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a definition has today, of a file that may be older or newer."""
    empty = dict.fromkeys(_DEFINITION_FIELDS, "") | {"better": "higher", "scope": "view", "digits": 3}
    return empty | {name: value for name, value in values.items() if name in _DEFINITION_FIELDS}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}", _REMEDY) from None
    if not isinstance(document, dict):
        raise InputError(f"{path} is damaged: it holds no mapping", _REMEDY)
    return document


def _read_table(path: Path, needed: set[str]) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}", _REMEDY) from None
    if not table.empty and not needed <= set(table.columns):
        raise InputError(f"{path} has no column {min(needed - set(table.columns))}", _REMEDY)
    return table
