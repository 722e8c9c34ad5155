"""What ViewFusion gives back: pictures, and the cameras that they are seen from."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from geometry.cameras import look_at_origin
from stage.errors import InputError
from systems.object_pipeline import SampledViews
from systems.viewfusion.trajectory import Position


@dataclass
class FusedViews(SampledViews):
    """Sampled images, as of every pipeline, and from where they are seen."""

    positions: list[Position] = field(default_factory=list)
    """Of each image; none where views were asked for by T, from an input that stands nobody knows where."""

    @property
    def c2w(self) -> Float[np.ndarray, "n 4 4"]:
        """Cameras of the images, which look at the origin, OpenGL axes.

        Raises:
            InputError: when they are not known.
        """
        if not self.positions:
            raise InputError(
                "views that were asked for by relative poses have no cameras", "ask for them by cameras: sample_views"
            )
        return np.stack([look_at_origin(*position) for position in self.positions])
