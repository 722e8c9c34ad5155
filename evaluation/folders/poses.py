"""From where the scored views are seen, for the tables' columns of angles."""

from collections.abc import Mapping, Sequence

import numpy as np

from blender_render.camera_sets import View
from evaluation.scores import TargetPose
from geometry.cameras import spherical_from_position

_DIGITS = 3


def poses_of(cameras: Mapping[str, View], views: Sequence[str], input_view: str | None) -> tuple[TargetPose, ...]:
    """A pose a view, from the input view's azimuth; from the first view's where no input view is named.

    Args:
        cameras: by view.
        views: the scored ones, in order.
        input_view: what the system was given.

    Returns:
        None at all where the camera of a view is not known.
    """
    origin = views[0] if input_view is None else input_view
    if any(view not in cameras for view in (*views, origin)):
        return ()
    places = {view: spherical_from_position(cameras[view].c2w[:3, 3]) for view in (*views, origin)}
    azimuth, input_elevation = places[origin][1], _elevation_deg(places[origin][0])
    return tuple(
        TargetPose(
            int(view) if view.isdecimal() else number,
            _turn_deg(places[view][1] - azimuth),
            _elevation_deg(places[view][0]),
            input_elevation,
        )
        for number, view in enumerate(views)
    )


def _elevation_deg(polar: float) -> float:
    return round(90.0 - float(np.rad2deg(polar)), _DIGITS)


def _turn_deg(turn: float) -> float:
    """In (−180, 180]."""
    return round(180.0 - (180.0 - float(np.rad2deg(turn))) % 360.0, _DIGITS)
