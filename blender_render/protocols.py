"""Camera protocols: which views a system or an evaluation asks for, by name, with how many views each has."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blender_render import camera_sets, zero_1_to_g_cameras
from blender_render.camera_sets import FOV, CameraSet, View
from blender_render.inside import inside
from stage.errors import ParameterError
from stage.parameters import nearest_remedy

__all__ = ["FOV", "PROTOCOLS", "CameraSet", "Protocol", "View", "camera_set", "cameras"]


@dataclass(frozen=True)
class Protocol:
    """A named set of cameras and the numbers of views that it is defined for.

    Args:
        make: the set, from a generator, a number of views and a picture's width and height in pixels.
        views: how many views a fixed set has; None for one of any number.
        least: the fewest views of a set of any number.
        even: whether the number must be even, half of it inputs.
    """

    make: Callable[[np.random.Generator, int, int], CameraSet]
    views: int | None = None
    least: int = 1
    even: bool = False

    def check(self, name: str, views: int) -> None:
        """Refuse a number of views that the set does not have.

        Raises:
            ParameterError: naming the number to set.
        """
        if self.views is not None and views != self.views:
            raise ParameterError(
                f"the protocol {name} has {self.views} views, not {views}", f"set views to {self.views}"
            )
        if views < self.least:
            raise ParameterError(
                f"the protocol {name} has at least {self.least} views, not {views}", f"set views to {self.least}"
            )
        if self.even and views % 2:
            raise ParameterError(
                f"the protocol {name} has as many inputs as targets, not {views} views", f"set views to {views + 1}"
            )


PROTOCOLS: dict[str, Protocol] = {
    "zero123": Protocol(camera_sets.zero123),
    "syncdreamer": Protocol(camera_sets.syncdreamer),
    "syncdreamer_training": Protocol(camera_sets.syncdreamer_training, least=2, even=True),
    "six_views": Protocol(camera_sets.six_views, views=6),
    "zero123plus": Protocol(camera_sets.zero123plus, views=7),
    "zero123plus_v1_1": Protocol(camera_sets.zero123plus_v1_1, views=7),
    "viewfusion360": Protocol(camera_sets.viewfusion360, views=36),
    "viewfusion_free": Protocol(camera_sets.viewfusion_free),
    "lgm": Protocol(camera_sets.lgm, least=camera_sets.LGM_INPUTS + 1),
    "zero_1_to_g": Protocol(zero_1_to_g_cameras.zero_1_to_g),
    "zero_1_to_g_lvis": Protocol(zero_1_to_g_cameras.zero_1_to_g_lvis, views=6),
    "zero_1_to_g_lvis_early": Protocol(zero_1_to_g_cameras.zero_1_to_g_lvis_early, views=6),
    "zero_1_to_g_lara": Protocol(zero_1_to_g_cameras.zero_1_to_g_lara, views=6),
    "zero_1_to_g_training": Protocol(zero_1_to_g_cameras.zero_1_to_g_training, least=8),
    "zero_1_to_g_lvis_training": Protocol(zero_1_to_g_cameras.zero_1_to_g_lvis_training, least=8),
    "hammersley": Protocol(camera_sets.hammersley),
    "gso_free": Protocol(camera_sets.gso_free),
    "inside": Protocol(inside),
}


def camera_set(protocol: str, generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """The inputs and targets of a protocol by its name.

    Args:
        protocol: a key of `PROTOCOLS`.
        generator: source of randomness of the random ones.
        views: number of views, inputs included.
        size: picture width and height, pixels.

    Raises:
        ParameterError: for an unknown protocol, or a number of views that it does not have.
    """
    if protocol not in PROTOCOLS:
        raise ParameterError(f"unknown camera protocol {protocol!r}", nearest_remedy(protocol, PROTOCOLS))
    PROTOCOLS[protocol].check(protocol, views)
    return PROTOCOLS[protocol].make(generator, views, size)


def cameras(protocol: str, generator: np.random.Generator, views: int, size: int) -> list[View]:
    """All views of a protocol in the order in which they are rendered, inputs first; as `camera_set`."""
    return camera_set(protocol, generator, views, size).views
