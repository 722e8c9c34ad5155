"""Figures that need all views of an object, where its cameras are known; elsewhere a reason."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import View
from evaluation.metrics.metric_set import MetricSet

NO_CAMERAS = "the truth has no transforms.json with the camera of every view"
_DIGITS = 4


def view_cameras(cameras: Mapping[str, View], views: Sequence[str]) -> list[View] | None:
    """The cameras of the views, in order; None where one is not known."""
    return [cameras[view] for view in views] if views and all(view in cameras for view in views) else None


def object_figures(
    metrics: MetricSet,
    answers: Mapping[str, Float[np.ndarray, "t h w 3"]],
    condition: Float[np.ndarray, "h w 3"] | None,
    cameras: Sequence[View] | None,
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The figures of scope "object" by method, and why others are not available.

    Args:
        metrics: what is asked for.
        answers: pictures of the scored views by method.
        condition: the input view, which stands among the others; none where all views are scored.
        cameras: of the input view if there is one, then of the scored views; None where they are not known.
    """
    asked = {definition.name for definition in metrics.definitions if definition.scope == "object"} & set(
        metrics.objects
    )
    if not asked:
        return {}, {}
    if cameras is None:
        return {}, dict.fromkeys(sorted(asked), NO_CAMERAS)
    seen = metrics.seen_from(cameras)
    figures = {}
    for method, pictures in answers.items():
        around = pictures if condition is None else np.concatenate([condition[None], pictures])
        found = seen.object(around[1:], cameras[1:], around[0], cameras[0])
        figures[method] = {name: round(value, _DIGITS) for name, value in found.items()}
    return figures, {name: why for name, why in seen.unavailable.items() if name in asked}
