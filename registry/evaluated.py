"""The figures that travel with a model: data/evaluation/metrics.json, as numbers for MLflow and as tags for people."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stage.errors import InputError
from training.tracking.tracker import flattened

METRICS_FILE = "metrics.json"
_REMEDY = "run viewforge evaluate"


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of an evaluation's metrics.json.

    Raises:
        InputError: when it is missing, no JSON, or lacks the unseen figures of the model or the data's hash.
    """
    try:
        metrics = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no evaluation {path}", _REMEDY) from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", _REMEDY) from None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("data_sha256"), str):
        raise InputError(f"{path} does not say which data it was measured on (data_sha256)", _REMEDY)
    unseen = metrics.get("unseen")
    if not isinstance(unseen, dict) or not isinstance(unseen.get("model"), dict):
        raise InputError(f"{path} has no figures of the model on unseen objects (unseen.model)", _REMEDY)
    return metrics


def finite_figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """All finite numbers by dotted key, `evaluation.unseen.model.psnr` and the like."""
    flat = flattened(metrics, "evaluation.")
    numbers = {k: float(v) for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def unseen_tags(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Each unseen figure of the model and the baselines as a tag that a person can read and search."""
    flat = flattened(metrics["unseen"], "evaluation.unseen.")
    return {key: str(value) for key, value in flat.items() if isinstance(value, str | int | float)}
