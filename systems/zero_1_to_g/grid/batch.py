"""Views as Zero-1-to-G's first generation learns from them: the six of the grid, those for supervision, the input last."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Generator, Tensor

from geometry.attribute_tensors import turned
from geometry.cameras import Intrinsics, spherical_from_position
from stage.errors import InputError
from systems.trainable import Views
from systems.zero_1_to_g.grid.layout import BACKGROUND, VIEWS


@dataclass(frozen=True)
class GridBatch:
    """Objects, each turned about Z so that its input camera stands at azimuth 0."""

    pictures: Float[Tensor, "b 6 3 s s"]
    """The views of the grid in [−1, 1] on grey."""
    condition: Float[Tensor, "b 3 h w"]
    """The input in [−1, 1]."""
    elevations: Float[Tensor, " b"]
    """Of the input's cameras over the horizon, radians."""
    rgba: Float[Tensor, "b n h w 4"]
    """Views for supervision, straight alpha in [0, 1]."""
    c2w: Float[np.ndarray, "b n 4 4"]
    """Their cameras, OpenGL axes."""
    lenses: list[list[Intrinsics]]
    """Of these cameras."""
    splatters: Float[Tensor, "b 6 14 y x"] | None
    """The true splatter images, where they are wanted."""
    epoch: int
    """Of the training."""
    codes: Float[Tensor, "b c y x"] | None = None
    """Codes that were kept; they are encoded where there are none."""


@dataclass(frozen=True)
class GridDraws:
    """The random numbers of a batch: of the posterior, the diffusion, the reference's noise, and the background's colour."""

    posterior: Float[Tensor, "b c y x"]
    noise: Float[Tensor, "b c y x"]
    timesteps: Tensor
    reference: Float[Tensor, "b c v u"]
    background: Float[Tensor, "b 3"]

    def to(self, device: torch.device) -> "GridDraws":
        """The same numbers on a device."""
        return GridDraws(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def grid_batch(
    views: Views, input_size: int, condition_background: float, render_input_views: bool, wants_splatters: bool
) -> GridBatch:
    """A batch from views: the six of the grid, those for supervision, the input last.

    Args:
        views: eight or more of each object.
        input_size: width and height of the grid's pictures, pixels.
        condition_background: grey that the input is put on.
        render_input_views: whether the six are for supervision too.
        wants_splatters: whether the true splatter images are needed.

    Raises:
        InputError: when there are too few views or no splatter images.
    """
    count = views.rgba.shape[1]
    first = 0 if render_input_views else VIEWS
    if count < VIEWS + 2:
        raise InputError(
            f"{count} views of an object", f"take {VIEWS} of the grid, one or more for supervision, the input"
        )
    if wants_splatters and views.splatters is None:
        raise InputError("views without splatter images", "set lambda_splatter to 0, or write shards with them")
    values = views.rgba.float() / 255.0
    positions = [spherical_from_position(c2w[:3, 3]) for c2w in views.c2w[:, -1].cpu().numpy()]
    azimuths = [azimuth for _, azimuth, _ in positions]
    return GridBatch(
        pictures=_sized(_on_grey(values[:, :VIEWS], BACKGROUND), input_size),
        condition=_on_grey(values[:, -1:], condition_background)[:, 0],
        elevations=torch.tensor([math.pi / 2 - polar for polar, _, _ in positions]),
        rgba=values[:, first:-1],
        c2w=np.stack(
            [_turned_cameras(c2w, a) for c2w, a in zip(_numpy(views.c2w[:, first:-1]), azimuths, strict=True)]
        ),
        lenses=[_lenses(each, views.rgba.shape[2:4]) for each in _numpy(views.intrinsics[:, first:-1])],
        splatters=_turned_splatters(views, azimuths) if wants_splatters else None,
        epoch=views.epoch,
    )


def draw(
    seeds: Sequence[int], code_shape: tuple[int, ...], reference_shape: tuple[int, ...], timesteps: int
) -> GridDraws:
    """A batch's random numbers, each sample's from its own seed, so that they do not depend on how a batch is split up."""
    generators = [Generator().manual_seed(seed) for seed in seeds]
    return GridDraws(
        posterior=torch.stack([torch.randn(code_shape, generator=g) for g in generators]),
        noise=torch.stack([torch.randn(code_shape, generator=g) for g in generators]),
        timesteps=torch.stack([torch.randint(timesteps, (), generator=g) for g in generators]),
        reference=torch.stack([torch.randn(reference_shape, generator=g) for g in generators]),
        background=torch.stack([torch.rand(3, generator=g) for g in generators]),
    )


def _on_grey(rgba: Float[Tensor, "b v h w 4"], grey: float) -> Float[Tensor, "b v 3 h w"]:
    rgb = rgba[..., :3] * rgba[..., 3:] + (1.0 - rgba[..., 3:]) * grey
    return rgb.movedim(-1, -3) * 2.0 - 1.0


def _sized(pictures: Float[Tensor, "b v 3 h w"], size: int) -> Float[Tensor, "b v 3 s s"]:
    """Bilinear without antialiasing, as published (`dataset_v4_code.py`, `F.interpolate`)."""
    if pictures.shape[-2:] == (size, size):
        return pictures
    made = F.interpolate(pictures.flatten(0, 1), size=(size, size), mode="bilinear", align_corners=False)
    return made.unflatten(0, pictures.shape[:2])


def _turned_cameras(c2w: Float[np.ndarray, "n 4 4"], azimuth: float) -> Float[np.ndarray, "n 4 4"]:
    """Cameras of the scene in the input's frame: turned about Z by minus the input's azimuth."""
    cos, sin = math.cos(azimuth), math.sin(azimuth)
    turn = np.array([[cos, sin, 0, 0], [-sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
    return turn @ c2w


def _turned_splatters(views: Views, azimuths: Sequence[float]) -> Float[Tensor, "b 6 14 y x"]:
    assert views.splatters is not None  # noqa: S101 - checked before
    channels = views.splatters.channels.float()
    if channels.shape[1] != VIEWS:
        raise InputError(f"{channels.shape[1]} splatter images of an object", f"make them of {VIEWS} views")
    angles = -torch.tensor(azimuths, device=channels.device)[:, None].expand(channels.shape[:2])
    return turned(channels, angles)


def _lenses(intrinsics: Float[np.ndarray, "n 4"], size: Sequence[int]) -> list[Intrinsics]:
    height, width = size
    return [Intrinsics(fx, fy, cx, cy, width, height) for fx, fy, cx, cy in intrinsics.tolist()]


def _numpy(values: Tensor) -> np.ndarray:
    made: np.ndarray = values.cpu().numpy()
    return made
