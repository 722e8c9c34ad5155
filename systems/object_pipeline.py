"""What every system's pipeline is asked alike: pictures of an object or scene from wanted cameras, made from one picture.

Evaluation and command line know no more of a pipeline than stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from geometry.cameras import Intrinsics
from systems.pictures.choices import FramingName
from systems.pictures.framing import padded_square

Pictures: TypeAlias = Float[Tensor, "m 3 h w"] | Image.Image | Sequence[Image.Image]


class Camera(Protocol):
    """A camera with its lens."""

    @property
    def c2w(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world, OpenGL axes."""

    @property
    def intrinsics(self) -> Intrinsics:
        """Of its picture."""


@dataclass
class SampledViews(BaseOutput):
    """Sampled images.

    A tensor (n, 3, h, w) or array (n, h, w, 3) in [0, 1], a list of PIL images, or latents (n, c, y, x) as the UNet sees them.
    """

    images: Any


class ObjectPipeline(DiffusionPipeline, ABC):
    """A diffusers pipeline that sees an input view from other sides."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Width and height of the images that the pipeline was trained on, pixels."""

    @property
    def framing(self) -> FramingName:
        """How an object stands in the pictures that the system knows, for `systems.pictures.preparation.prepare`."""
        return "zero123"

    def framed(self, picture: Image.Image) -> Image.Image:
        """What of a PIL image the system is shown: the whole, made square by transparent margins. Objects are not sought here."""
        return padded_square(picture)

    @abstractmethod
    def sample_views(
        self,
        images: Pictures,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample a scene from wanted cameras: what all systems are asked alike, whatever they are told of cameras.

        Args:
            images: the input view, once or for each target.
            condition: the input view's camera, in the scene's frame.
            targets: the wanted cameras.
            scale: of the scene, scene units; what `scale_from` gives.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit.
        """

    @property
    def views_depend_on_each_other(self) -> bool:
        """Whether all wanted views of an object have to be asked for in one call of `sample_views`."""
        return False

    @property
    def needs_scale(self) -> bool:
        """Whether the system is told of a scale of the scene."""
        return False

    @property
    def scale_name(self) -> str | None:
        """Which of `geometry.scene_scales.SCALES` has to be measured of a scene for `sample_views`; None when none has."""
        return None

    def scale_from(self, measured: Callable[[str], float]) -> float | None:
        """The scale for `sample_views`; None where the system knows of none.

        Args:
            measured: a scale of the scene by its name, scene units.

        Raises:
            InputError: when the system wants one that nobody measures.
        """
        del measured
        return None

    def pose_vectors(
        self,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,
    ) -> Float[Tensor, "n e"] | None:
        """What the system is told of wanted cameras; None where views of several objects cannot share a batch.

        Args:
            condition: the input view's camera.
            targets: the wanted cameras.
            scale: as for `sample_views`.
        """
        del condition, targets, scale
        return None
