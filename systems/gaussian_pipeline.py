"""Pipelines that make an object's Gaussians of one picture, and see it from other sides by rasterising them.

made = pipeline(Image.open("chair.png"), elevation_deg=20)
write_ply(Path("chair.ply"), made.gaussians[0])
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers.utils import BaseOutput
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from geometry.attribute_tensors import gaussians_of, turned
from geometry.cameras import spherical_from_position
from geometry.gaussians import Gaussians
from geometry.rasterizer import rasterize
from geometry.splatter_tensor import gaussians_from_channels
from stage.errors import InputError
from systems.object_pipeline import Camera, ObjectPipeline, Pictures, SampledViews
from systems.pictures.choices import FramingName

# What a rasteriser leaves out.
_LEAST_OPACITY = 1.0 / 255.0
_OPACITY = 3
# Options of samplers of single views, which `sample_views` is given for any system.
_OF_VIEWS = frozenset({"output_type", "num_images_per_pose", "return_dict"})
Splatters: TypeAlias = Float[Tensor, "n v 14 h w"]


@dataclass
class SampledGaussians(BaseOutput):
    """Objects in their input's frame: Z up, the input's camera at azimuth 0."""

    gaussians: list[Gaussians]
    """Of each input, those of all its views whose opacity is 1/255 or more."""
    splatters: Splatters
    """The splatter images that they are of."""


class GaussianPipeline(ObjectPipeline):
    """A diffusers pipeline that makes Gaussians of one picture."""

    @property
    def framing(self) -> FramingName:
        """LGM's, which Zero-1-to-G is a fork of."""
        return "lgm"

    @abstractmethod
    def sample_splatters(
        self,
        images: Pictures,
        elevations: Float[Tensor, " n"],
        **options: Any,  # noqa: ANN401 - the system's own
    ) -> Splatters:
        """Sample the splatter images of each input view, in the input's frame and on the pipeline's device.

        Args:
            images: input views in [−1, 1] on white, or PIL images, which are put on white and brought to the training's size.
            elevations: of the input cameras over the horizon, radians.
            **options: of the system's sampler.

        Raises:
            InputError: when shapes, values or options do not fit.
        """

    @torch.no_grad()
    def __call__(
        self,
        images: Pictures,
        elevation_deg: float | Sequence[float] = 0.0,
        **options: Any,  # noqa: ANN401 - the system's own
    ) -> SampledGaussians:
        """The Gaussians of one object or several, each from one picture.

        Args:
            images: as for `sample_splatters`.
            elevation_deg: of the input cameras over the horizon, degrees; one for all, or one for each.
            **options: of the system's sampler.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        count = 1 if isinstance(images, Image.Image) else len(images)
        given = torch.as_tensor(elevation_deg, dtype=torch.float32).deg2rad()
        if given.numel() not in (1, count):
            raise InputError(f"{given.numel()} elevations for {count} images", "give one, or one for each image")
        splatters = self.sample_splatters(images, given.expand(count), **options)
        return SampledGaussians(gaussians=[seen_gaussians(each) for each in splatters], splatters=splatters)

    @torch.no_grad()
    def sample_views(
        self,
        images: Pictures,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,  # noqa: ARG002 - other systems'
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Make the object once and rasterise it on white from the wanted cameras; see `ObjectPipeline`.

        Raises:
            InputError: when shapes, values or options do not fit, or there is not one input view.
        """
        return SampledViews(images=pictures_of(self.sample_scene(images, condition, **options), targets))

    @torch.no_grad()
    def sample_scene(
        self,
        images: Pictures,
        condition: Camera,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> Float[Tensor, "v 14 h w"]:
        """The splatter images of one object in the frame that its input view's camera stands in.

        Args:
            images: the input view, square; a tensor of another size than the training's is resized.
            condition: its camera.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit, or there is not one input view.
        """
        if not isinstance(images, Image.Image) and len(images) != 1:
            raise InputError(f"{len(images)} input views of one object", "give one")
        return self.sample_scenes(images, [condition], **options)[0]

    @torch.no_grad()
    def sample_scenes(
        self,
        images: Pictures,
        conditions: Sequence[Camera],
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> Float[Tensor, "n v 14 h w"]:
        """The splatter images of several objects, each in the frame that its input view's camera stands in.

        Args:
            images: an input view of each; see `sample_scene`.
            conditions: their cameras.
            **options: `SamplerOptions`; a generator may be given for each object.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        spherical = [spherical_from_position(condition.c2w[:3, 3]) for condition in conditions]
        own = {name: value for name, value in options.items() if name not in _OF_VIEWS}
        elevations = torch.tensor([np.pi / 2 - polar for polar, _, _ in spherical])
        made = self.sample_splatters(self._fitting(images), elevations, **own)
        pairs = zip(made, spherical, strict=True)
        return torch.stack([turned(each, torch.full((len(each),), azimuth)) for each, (_, azimuth, _) in pairs])

    def _fitting(self, images: Pictures) -> Pictures:
        """Pictures of the training's size: those that others are judged by may be larger. PIL images are resized elsewhere."""
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[-1] == self.image_size:
            return images
        return F.interpolate(images, (self.image_size, self.image_size), mode="bilinear", antialias=True)


def seen_gaussians(splatters: Float[Tensor, "v 14 h w"]) -> Gaussians:
    """The Gaussians of an object's splatter images whose opacity is 1/255 or more."""
    channels = splatters.detach().float().cpu().numpy()
    table = channels.transpose(1, 0, 2, 3).reshape(channels.shape[1], 1, -1)
    return gaussians_from_channels(table[:, :, table[_OPACITY, 0] >= _LEAST_OPACITY])


def pictures_of(splatters: Float[Tensor, "v 14 h w"], cameras: Sequence[Camera]) -> Float[Tensor, "n 3 h w"]:
    """Pictures of splatter images on white, [0, 1], on the CPU."""
    lenses = [camera.intrinsics for camera in cameras]
    rendering = rasterize(gaussians_of(splatters.float()), np.stack([camera.c2w for camera in cameras]), lenses)
    return rendering.rgb.permute(0, 3, 1, 2).clamp(0.0, 1.0).cpu()
