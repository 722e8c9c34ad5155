"""The scale of an object's scene, for systems that are told of lengths in its units (ZeroNVS).

It is measured as in training: `scene_radius` over all the protocol's cameras, `nearplane_quantile` over the depth of all
views, `depth_quantile` over that of the input view. The depth is the rendered one, which is exact. Photographs have none:
there the published scale of a scene is taken. `evaluate.scale` takes the place of both.
"""

import math

from evaluation.protocol import INPUT_VIEW, ObjectViews
from geometry.scene_scales import depth_quantile, nearplane_quantile, scene_radius
from stage.errors import InputError
from systems.object_pipeline import ObjectPipeline

# What the released model, whose scales of DTU and Mip-NeRF 360 are published, divides by.
_PUBLISHED_OF = "depth_quantile"


def check_scale(pipeline: ObjectPipeline, given: float | None) -> None:
    """Refuse a scale for a system without one, and a system whose scale nobody measures without one.

    Args:
        pipeline: the trained model.
        given: `evaluate.scale`.

    Raises:
        InputError: in either case.
    """
    name = type(pipeline).__name__
    if given is not None and not pipeline.needs_scale:
        raise InputError(f"the trained {name} is told of no scale", "set evaluate.scale to null")
    if given is None and pipeline.needs_scale and pipeline.scale_name is None:
        raise InputError(
            f"the scale of the trained {name} cannot be measured", "set evaluate.scale to the scene units in a metre"
        )


def object_scale(pipeline: ObjectPipeline, views: ObjectViews, given: float | None) -> float | None:
    """The scale of an object's views, scene units; None where the system knows of none.

    Args:
        pipeline: the trained model.
        views: the object.
        given: `evaluate.scale`.

    Raises:
        InputError: when the input view shows nothing to measure.
    """
    if given is not None:
        return given
    if views.scale is not None and pipeline.scale_name == _PUBLISHED_OF:
        return views.scale
    scale = pipeline.scale_from(lambda name: measured(views, name))
    if scale is not None and math.isnan(scale):
        raise InputError(
            f"object {views.asset.uid} has no {pipeline.scale_name} under the protocol", "set evaluate.scale"
        )
    return scale


def measured(views: ObjectViews, name: str) -> float:
    """A scale of `geometry.scene_scales.SCALES` of an object's views, scene units; NaN where there is no depth to tell."""
    match name:
        case "scene_radius":
            return scene_radius(views.c2w)
        case "nearplane_quantile":
            return nearplane_quantile([views.depth(number) for number in range(len(views.cameras))])
        case "depth_quantile":
            return depth_quantile(views.depth(INPUT_VIEW))
        case _:
            raise ValueError(f"no scale {name}")
