"""Sections of a model card that say how good a model is and what it may be used for, each sentence from a record or a fact."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.methods import BASELINES, METHOD_NAMES
from evaluation.metrics.definitions import METRICS
from registry.evaluation_record import MODEL, EvaluationRecord

_SUBSETS = {"unseen": "**Objects that it has not seen**", "training": "**Objects that it was trained on**"}
_ABSENT = "–"


def figure_tables(record: EvaluationRecord) -> list[dict[str, Any]]:
    """A table for each subset that was scored: a row a figure, a column a method, intervals in brackets."""
    tables = []
    for subset, heading in _SUBSETS.items():
        methods = [
            name for name in (MODEL, *BASELINES) if isinstance(record.metrics.get(subset, {}).get(name), Mapping)
        ]
        names = [name for name in METRICS if any(_cell(record, subset, m, name) != _ABSENT for m in methods)]
        if names:
            rows = [
                {"name": _named(name), "cells": [_cell(record, subset, method, name) for method in methods]}
                for name in names
            ]
            tables.append({"heading": heading, "methods": [METHOD_NAMES.get(m, m) for m in methods], "rows": rows})
    return tables


def evaluated_on(record: EvaluationRecord) -> str:
    """Protocol, source and number of views and objects, in a sentence."""
    metrics, sampler = record.metrics, record.basis.get("sampler") or {}
    counts = {name: metrics.get(f"{name}_objects") for name in _SUBSETS}
    parts = [
        f"Protocol `{metrics.get('preset') or metrics.get('protocol')}`",
        f"source `{metrics.get('source')}`",
        f"{metrics['views']} views an object" if metrics.get("views") else "",
        *(f"{count} {name} objects" for name, count in counts.items() if count is not None),
        ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in sorted(sampler.items()) if _plain(value)),
    ]
    return "; ".join(filter(None, parts)) + "."


def missing_figures(record: EvaluationRecord) -> list[str]:
    """Figures that were asked for and are not available, with the evaluation's reason, and objects that failed."""
    unavailable = record.metrics.get("unavailable") or {}
    lines = [f"{name} is not available: {' '.join(str(why).split())}" for name, why in sorted(unavailable.items())]
    failed = record.metrics.get("failed") or {}
    return lines + [f"{count} {subset} objects could not be scored" for subset, count in failed.items() if count]


def uses(facts: Mapping[str, Any]) -> list[str]:
    """What it takes and gives, as far as that is recorded."""
    lines = ["Views of a single object in front of white, at poses given relative to its picture (docs/serving.md)."]
    if (facts.get("picture_size") or 0) > 0:
        lines.append(f"Pictures of {facts['picture_size']} × {facts['picture_size']} pixels, and no other size.")
    if most := (facts.get("request_limits") or {}).get("most_poses"):
        lines.append(f"At most {most} poses in a request.")
    return lines


def limits(facts: Mapping[str, Any], record: EvaluationRecord | None) -> list[str]:
    """What follows from data and figures: nothing that was not measured or recorded."""
    return [*_of_data(facts.get("data") or {}), *_of_views(facts), *_of_figures(record)]


def _of_data(data: Mapping[str, Any]) -> Iterator[str]:
    if not data:
        yield "Which objects it learnt, and so what their licences allow, is not recorded."
        return
    for key, words in (("commercial", "commercial use"), ("derivatives", "changed versions to be passed on")):
        if count := sum(licence["objects"] for licence in data["licences"] if not licence[key]):
            yield f"The licences of {count} of the {data['objects']} training objects do not allow {words}."
    if count := sum(licence["objects"] for licence in data["licences"] if licence["attribution"]):
        yield f"The licences of {count} training objects ask to name the authors: pass `attribution.md` on."
    if set(data.get("sources") or ()) == {"procedural"}:
        yield "It has seen composed objects alone, and no scanned, modelled or photographed one."


def _of_views(facts: Mapping[str, Any]) -> Iterator[str]:
    if views := facts.get("views"):
        yield (
            f"It learnt from rendered views of the camera protocol `{views['protocol']}`, {views['resolution']} pixels; "
            "other lenses, distances and photographs are outside of what it was trained on."
        )


def _of_figures(record: EvaluationRecord | None) -> Iterator[str]:
    if record is None:
        yield "It carries no evaluation."
        return
    count = record.metrics.get("unseen_objects")
    if count is not None:
        yield f"Its figures are of {count} unseen object{'' if count == 1 else 's'} of `{record.metrics.get('source')}`."
    for name in BASELINES:
        ours, theirs = record.figure("psnr", "unseen"), record.figure("psnr", "unseen", name)
        if ours is not None and theirs is not None and ours <= theirs:
            yield f"By mean PSNR it is no better than {METHOD_NAMES[name]} ({ours:.2f} against {theirs:.2f} dB)."


def _cell(record: EvaluationRecord, subset: str, method: str, name: str) -> str:
    value = record.figure(name, subset, method)
    if value is None:
        return _ABSENT
    digits = METRICS[name].digits
    interval = record.metrics.get("intervals", {}).get(subset, {}).get(method, {}).get(name)
    ends = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""
    return f"{value:.{digits}f}{ends}"


def _named(name: str) -> str:
    metric = METRICS[name]
    arrow = "↑" if metric.better == "higher" else "↓"
    return f"{metric.title}{f', {metric.unit}' if metric.unit else ''} {arrow}"


def _plain(value: Any) -> bool:  # noqa: ANN401 - a JSON value
    return isinstance(value, str | int | float) and value != ""
