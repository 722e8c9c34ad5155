"""Two evaluations of the same objects beside each other: which model is better, and how sure that is.

    result = compare(Path("first/data/evaluation"), Path("second/data/evaluation"))
    write_comparison(result, Path("comparison"))              # evaluation.comparison_page

Figures of other data say nothing about models, so evaluations of other views, of another protocol or with other definitions of
the figures are refused.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.evaluated_folder import EvaluatedFolder
from evaluation.methods import MODEL
from evaluation.metrics.definitions import MetricDefinition
from evaluation.pairs import Pairing, pairings
from evaluation.report_sections import heading, pairing_row
from stage.errors import InputError

# What two evaluations must share for their figures to be of the same thing.
_SHARED = {"data_sha256": "objects or views", "protocol": "cameras", "views": "numbers of views"}


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two evaluations."""

    ours: EvaluatedFolder
    theirs: EvaluatedFolder
    names: tuple[str, str]
    """Of the two, for people."""
    definitions: list[MetricDefinition]
    """Of the figures that both have."""
    pairings: list[Pairing]
    differences: dict[str, Any]
    """Settings in which the two differ, each with both values."""
    alone: dict[str, list[str]]
    """Objects that only one of the two has, by name of the evaluation."""
    confidence: float = 0.95
    """Of the intervals."""

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "ours": self.names[0],
            "theirs": self.names[1],
            "protocol": self.ours.metrics.get("protocol"),
            "data_sha256": self.ours.metrics.get("data_sha256"),
            "settings": self.differences,
            "only_in": self.alone,
            "confidence": self.confidence,
            "figures": [pairing.to_json() for pairing in self.pairings],
        }


def compare(ours: Path, theirs: Path, names: tuple[str, str] | None = None, confidence: float = 0.95) -> Comparison:
    """Compare the models of two evaluations, object by object.

    Args:
        ours: a folder with an evaluation (`EvaluatedFolder`).
        theirs: another one.
        names: of the two, for people; their folders when None.
        confidence: of the intervals.

    Raises:
        InputError: when one is no evaluation, or the two are not of the same views, protocol and definitions.
    """
    first, second = EvaluatedFolder.read(ours), EvaluatedFolder.read(theirs)
    names = names or (str(ours), str(theirs))
    _check_same(first, second, names)
    definitions = _shared_definitions(first, second, names)
    rows = [_of_model(first), _of_model(second)]
    found = pairings(rows[0], rows[1], definitions, confidence)
    if not found:
        raise InputError(
            f"{names[0]} and {names[1]} share no object with a figure", "evaluate both on the same objects"
        )
    differences, alone = _differences(first, second), _alone(rows, names)
    return Comparison(first, second, names, definitions, found, differences, alone, confidence)


def comparison_tables(comparison: Comparison, most: int) -> dict[str, Any]:
    """What the template shows.

    Args:
        comparison: the comparison.
        most: rows of objects.
    """
    return {
        "names": comparison.names,
        "confidence": f"{100 * comparison.confidence:g} %",
        "pairs": [pairing_row(pairing) for pairing in comparison.pairings],
        "settings": comparison.differences,
        "alone": {name: len(uids) for name, uids in comparison.alone.items() if uids},
        **_object_rows(comparison, most),
    }


def _of_model(result: EvaluatedFolder) -> pd.DataFrame:
    return result.objects[result.objects["method"] == MODEL]


def _check_same(ours: EvaluatedFolder, theirs: EvaluatedFolder, names: tuple[str, str]) -> None:
    for key, words in _SHARED.items():
        if ours.metrics.get(key) != theirs.metrics.get(key):
            raise InputError(
                f"{names[0]} and {names[1]} are not of the same {words} ({key} differs)",
                "evaluate both models under one protocol on one revision of the data",
            )


def _shared_definitions(
    ours: EvaluatedFolder, theirs: EvaluatedFolder, names: tuple[str, str]
) -> list[MetricDefinition]:
    other = {definition.name: definition for definition in theirs.definitions}
    shared = [definition for definition in ours.definitions if definition.name in other]
    for definition in shared:
        if asdict(definition) != asdict(other[definition.name]):
            raise InputError(
                f"{definition.name} has another definition in {names[0]} than in {names[1]}",
                "evaluate both with one version of viewforge",
            )
    return shared


def _differences(ours: EvaluatedFolder, theirs: EvaluatedFolder) -> dict[str, list[Any]]:
    first, second = (result.details.get("settings", {}) for result in (ours, theirs))
    return {
        name: [first.get(name), second.get(name)]
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    }


def _alone(rows: list[pd.DataFrame], names: tuple[str, str]) -> dict[str, list[str]]:
    first, second = (set(zip(table["subset"], table["uid"], strict=True)) for table in rows)
    return {
        name: sorted(uid for _, uid in only)
        for name, only in zip(names, (first - second, second - first), strict=True)
    }


def _object_rows(comparison: Comparison, most: int) -> dict[str, Any]:
    """Every shared object with both figures and their difference, ours at its worst first."""
    shown = [d for d in comparison.definitions if d.name in {p.metric.name for p in comparison.pairings}]
    both = _of_model(comparison.ours).merge(
        _of_model(comparison.theirs), on=["subset", "uid"], suffixes=("", " theirs")
    )
    first = shown[0]
    sign = 1.0 if first.better == "higher" else -1.0
    gains = sign * (both[first.name] - both[f"{first.name} theirs"])
    ordered = both.assign(gain=gains).sort_values(["gain", "uid"])
    return {
        "headings": [heading(definition) for definition in shown],
        "objects": [
            {
                **{key: row[key] for key in ("subset", "uid")},
                "title": row.get("title") or row["uid"],
                "cells": [_cells(row, definition) for definition in shown],
            }
            for row in ordered.head(most).to_dict("records")
        ],
        "objects_total": len(both),
    }


def _cells(row: dict[Any, Any], definition: MetricDefinition) -> dict[str, Any]:
    ours, theirs = row[definition.name], row[f"{definition.name} theirs"]
    if pd.isna(ours) or pd.isna(theirs):
        return {"texts": ["", "", ""], "good": None}
    difference, digits = ours - theirs, definition.digits
    good = None if difference == 0 else (difference > 0) == (definition.better == "higher")
    return {"texts": [f"{ours:.{digits}f}", f"{theirs:.{digits}f}", f"{difference:+.{digits}f}"], "good": good}
