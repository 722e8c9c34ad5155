"""What the report's tables of figures show: means with intervals, pairs with the baselines, every object."""

from typing import Any

import pandas as pd

from evaluation.evaluated_folder import EvaluatedFolder
from evaluation.methods import BASELINES, METHOD_TITLES, MODEL, REFERENCES, TRUTH
from evaluation.metrics.definitions import MetricDefinition
from evaluation.page_template import ARROWS
from evaluation.pairs import Pairing, pairings
from evaluation.statistics import FEW
from geometry.perceptual import NOT_AVAILABLE


def heading(definition: MetricDefinition) -> str:
    """A metric's title with its unit and an arrow to the better side."""
    return f"{', '.join(filter(None, (definition.title, definition.unit)))} {ARROWS[definition.better]}"


def figure(value: float | str | None, digits: int) -> str:
    """A figure as text; what is no number stays words."""
    if value is None or isinstance(value, str):
        return value or NOT_AVAILABLE
    return NOT_AVAILABLE if pd.isna(value) else f"{value:.{digits}f}"


def metric_tables(result: EvaluatedFolder) -> list[dict[str, Any]]:
    """A table a subset: a row a method, a cell a figure with its interval, the best one marked."""
    return [
        {
            "subset": subset,
            "objects": result.count(subset),
            "few": result.count(subset) < FEW,
            "rows": [
                {"method": method, "cells": [_cell(result, subset, method, d) for d in result.definitions]}
                for method in result.methods
                if method in result.metrics[subset]
            ],
        }
        for subset in result.subsets
    ]


def interval_rows(result: EvaluatedFolder, subset: str) -> list[dict[str, str]]:
    """A subset's figures as words: a row a method, a column a figure as "mean [low, high]"."""
    table = next(table for table in metric_tables(result) if table["subset"] == subset)
    return [
        {"method": METHOD_TITLES.get(row["method"], row["method"])}
        | {
            heading(definition): f"{cell['text']} [{', '.join(cell['interval'])}]"
            if cell["interval"]
            else cell["text"]
            for definition, cell in zip(result.definitions, row["cells"], strict=True)
        }
        for row in table["rows"]
    ]


def _cell(result: EvaluatedFolder, subset: str, method: str, definition: MetricDefinition) -> dict[str, Any]:
    if definition.name not in result.metrics[subset][method]:
        return {"text": "–", "words": True, "interval": None, "best": False}
    value = result.metrics[subset][method][definition.name]
    interval = result.metrics.get("intervals", {}).get(subset, {}).get(method, {}).get(definition.name)
    return {
        "text": figure(value, definition.digits),
        "words": value is None or isinstance(value, str),
        "interval": [figure(end, definition.digits) for end in interval] if interval else None,
        "best": method in _winners(result, subset, definition),
    }


def _winners(result: EvaluatedFolder, subset: str, definition: MetricDefinition) -> list[str]:
    """The methods with the best figure; an upper bound is no competitor, and nobody wins where one has no number."""
    figures = result.metrics[subset]
    numbers = {m: figures[m].get(definition.name) for m in result.methods if m in figures and m not in REFERENCES}
    if len(numbers) < 2 or any(not isinstance(value, int | float) for value in numbers.values()):
        return []
    best = (max if definition.better == "higher" else min)(numbers.values())
    return [method for method, value in numbers.items() if value == best]


def baseline_pairings(result: EvaluatedFolder) -> list[dict[str, Any]]:
    """The model beside each baseline over the same objects, by figure."""
    table = result.objects
    ours = table[table["method"] == MODEL]
    return [
        {"against": name, **pairing_row(pairing)}
        for name in BASELINES
        if name in result.methods
        for pairing in pairings(ours, table[table["method"] == name], result.definitions)
    ]


def pairing_row(pairing: Pairing) -> dict[str, Any]:
    """A pairing as the template shows it."""
    difference, digits = pairing.difference, pairing.metric.digits + 1
    return {
        "subset": pairing.subset,
        "metric": heading(pairing.metric),
        "mean": f"{difference.mean:+.{digits}f}",
        "low": f"{difference.low:+.{digits}f}",
        "high": f"{difference.high:+.{digits}f}",
        "better_on": pairing.better_on,
        "worse_on": pairing.worse_on,
        "ties": difference.ties,
        "count": difference.count,
        "outcome": pairing.outcome,
    }


def object_table(result: EvaluatedFolder, most: int) -> dict[str, Any]:
    """Every object with the model's figures, worst first by the first of them, and its gain over the better baseline.

    Args:
        result: the evaluation.
        most: rows.
    """
    table = result.objects
    model = table[table["method"] == MODEL]
    shown = [d for d in result.definitions if d.name in table.columns and model[d.name].notna().any()]
    others = [name for name in result.methods if name not in (MODEL, TRUTH)]
    if not shown:
        return {"definitions": [], "others": [], "rows": [], "total": len(model), "categories": False}
    first = shown[0]
    figures = table.pivot_table(index=["subset", "uid"], columns="method", values=first.name, dropna=False)
    ordered = model.sort_values([first.name, "uid"], ascending=[first.better == "higher", True], na_position="first")
    categories = "category" in table.columns and bool(model["category"].fillna("").astype(bool).any())
    return {
        "definitions": [{"heading": heading(d), "title": d.title} for d in shown],
        "first": first.title,
        "others": others,
        "categories": categories,
        "rows": [_object_row(row, shown, others, figures) for row in ordered.head(most).to_dict("records")],
        "total": len(model),
    }


def _object_row(
    row: dict[Any, Any], shown: list[MetricDefinition], others: list[str], figures: pd.DataFrame
) -> dict[str, Any]:
    first = shown[0]
    beside = {name: figures.loc[(row["subset"], row["uid"])].get(name) for name in others}
    rivals = [beside[name] for name in BASELINES if name in beside and pd.notna(beside[name])]
    gain = None
    if rivals and pd.notna(row[first.name]):
        gain = row[first.name] - max(rivals) if first.better == "higher" else min(rivals) - row[first.name]
    return {
        "uid": row["uid"],
        "title": row.get("title") or row["uid"],
        "subset": row["subset"],
        "category": row.get("category") or "",
        "cells": [_number(row[d.name], d.digits) for d in shown],
        "others": [_number(beside[name], first.digits) for name in others],
        "gain": None if gain is None else f"{gain:+.{first.digits}f}",
        "good": gain is not None and gain > 0,
    }


def _number(value: Any, digits: int) -> dict[str, Any]:  # noqa: ANN401 - a cell of a table
    absent = value is None or pd.isna(value)
    return {"text": NOT_AVAILABLE if absent else f"{value:.{digits}f}", "words": absent}
