"""What a visitor asks for, within bounds that hold for the page's sliders and for whoever goes round them."""

import math
from typing import Any

import numpy as np
from annotated_types import Ge, Le
from pydantic import Field

from blender_render.camera_sets import View
from evaluation.parameters import EvaluateParameters
from geometry.cameras import Intrinsics, look_at_origin
from stage.parameters import Parameters, load_section, validated
from stage.workspace import Workspace
from systems.zero123.parameters import SchedulerName

# The published lens of objects, and about the published distance: systems of objects are told of changes alone.
_DISTANCE = 1.5
# A camera above a pole has no direction that is up in its picture.
_STEEPEST = math.radians(89.0)


class Wish(Parameters):
    """One view from another side, or all around."""

    azimuth_deg: float = Field(default=30.0, ge=-180.0, le=180.0)
    """Turn about the object, counter-clockwise seen from above: to the right."""
    rise_deg: float = Field(default=0.0, ge=-90.0, le=90.0)
    """How much higher the view is than the picture."""
    farther: float = Field(default=0.0, ge=-0.7, le=1.5)
    """Change of the distance from the centre, in object sizes."""
    around: bool = False
    """All around in place of one view."""
    views: int = Field(default=16, ge=4, le=36)
    """Of a turn, the picture among them."""
    fused: bool = True
    """Of a turn: each view from those before it (ViewFusion)."""
    steps: int = Field(default=20, ge=1, le=100)
    """Of the sampler."""
    guidance: float = Field(default=3.0, ge=1.0, le=12.0)
    """Classifier-free guidance; 1 does without."""
    scheduler: SchedulerName | None = None
    """How to step; as the model was saved when None."""
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    """DDIM's share of fresh noise."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Of the noise."""
    elevation_deg: float = Field(default=0.0, ge=-30.0, le=80.0)
    """Of the picture's camera over the object's horizon."""
    fov_deg: float = Field(default=49.1, ge=10.0, le=120.0)
    """Of the picture's middle square; scenes alone ask for it."""
    scale: float = Field(default=0.7, ge=0.05, le=5.0)
    """Of a scene, as ZeroNVS's mode has it; objects have none."""

    def condition(self, size: int) -> View:
        """The picture's camera, in the frame about whose origin the object is."""
        return self._camera(0.0, 0.0, 0.0, size)

    def target(self, size: int) -> View:
        """The camera of the one wanted view."""
        return self._camera(self.azimuth_deg, self.rise_deg, self.farther, size)

    def turn(self, size: int) -> list[View]:
        """The cameras all around but the first, which is the picture's; counter-clockwise."""
        return [self._camera(360.0 * number / self.views, 0.0, 0.0, size) for number in range(1, self.views)]

    def _camera(self, azimuth_deg: float, rise_deg: float, farther: float, size: int) -> View:
        elevation = float(np.clip(math.radians(self.elevation_deg + rise_deg), -_STEEPEST, _STEEPEST))
        c2w = look_at_origin(math.pi / 2 - elevation, math.radians(azimuth_deg), _DISTANCE + farther)
        return View(c2w, Intrinsics.from_fov(math.radians(self.fov_deg), size))


def wish_of(values: dict[str, Any]) -> Wish:
    """A visitor's wish.

    Raises:
        ParameterError: in one line, when a value is none that there is.
    """
    return validated(Wish, values, "the page")


def default_wish(workspace: Workspace) -> Wish:
    """How the workspace's evaluation samples, so that what people see is what was measured; within the page's bounds.

    Raises:
        ParameterError: when the workspace's parameters are mistaken.
    """
    if not workspace.parameters.is_file():
        return Wish()
    evaluated = load_section(workspace.parameters, "evaluate", EvaluateParameters)
    given: dict[str, Any] = {
        "steps": evaluated.inference_steps,
        "guidance": evaluated.guidance_scale,
        "eta": evaluated.eta,
    }
    within: dict[str, Any] = {name: type(value)(np.clip(value, *bounds(name))) for name, value in given.items()}
    return Wish(**within, scheduler=evaluated.scheduler)


def bounds(name: str) -> tuple[float, float]:
    """Least and most of a number of `Wish`."""
    limits = Wish.model_fields[name].metadata
    (least,) = (float(each.ge) for each in limits if isinstance(each, Ge))  # type: ignore[arg-type]
    (most,) = (float(each.le) for each in limits if isinstance(each, Le))  # type: ignore[arg-type]
    return least, most
