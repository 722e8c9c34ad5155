"""Gaussians that stay on the pixels they were made for: what an optimiser may move of a splatter image, and how far.

A Gaussian of a splatter image belongs to one pixel of one view. Here its mean lies on its pixel's ray at a planar depth,
shifted by less than half a pixel: m = o + z·(d + sₓ·r + s_y·u), with d the ray through the pixel's centre at planar depth 1, r
and u the steps to the next pixel rightwards and downwards. z = z₀·exp(D·tanh(δ / D) / f) stays within D pixels of the start, and
s = 0.499·tanh(t) within the pixel, for any δ and t. Scales are optimised as logarithms, opacities as logits. Background pixels
take no part and keep opacity 0.

World units and axes as in `geometry.cameras`. Constants are computed in float64 and kept in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geometry.cameras import Intrinsics, opencv_from_opengl, project
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from stage.errors import InputError

# What a rasteriser leaves out, as it leaves out the background.
_LEAST_OPACITY = 1.0 / 255.0
# Less than half, so that rounding to float32 does not carry a mean over its pixel's border.
_REACH = 0.499
# Where a start beyond the reach is put, so that tanh still has a slope there.
_INSIDE = 0.45
# Depths of adjacent pixels of one surface differ by less, in pixels: a slant of 79°.
_SAME_SURFACE = 5.0
# The ranges that attribute images hold: log scales in Zero-1-to-G, and opacities that are neither hidden nor past 0.99.
_LOG_SCALES = (-10.0, -2.0)
_LOGITS = (-6.0, 6.0)

Values = dict[str, Tensor]
"""What is optimised, by name; every tensor has a row for each Gaussian."""


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """The pixels of v views that have a Gaussian, in the order of the views and row-major within each."""

    views: tuple[Gaussians, ...]
    """The start, one Gaussian per pixel and view."""
    taking_part: tuple[Bool[np.ndarray, " p"], ...]
    """For each view its pixels that see something."""
    eyes: Float[Tensor, "n 3"]
    rays: Float[Tensor, "n 3"]
    """Through the pixel's centre, of planar depth 1."""
    right: Float[Tensor, "n 3"]
    down: Float[Tensor, "n 3"]
    depths: Float[Tensor, " n"]
    """Planar z of the start."""
    focal: Float[Tensor, " n"]
    """Pixels."""
    depth_reach: float
    """Farthest that a mean moves along its ray, in pixels at its depth."""
    start: Values
    """The values that give the start back."""
    neighbours: Int[Tensor, "m 2"]
    """Pairs of Gaussians of adjacent pixels that lie on one surface."""

    @classmethod
    def of(
        cls,
        views: Sequence[Gaussians],
        c2w: Float[np.ndarray, "v 4 4"],
        intrinsics: Sequence[Intrinsics],
        depth_reach: float = 2.0,
        device: torch.device | str = "cpu",
    ) -> "PixelGrid":
        """The grid of splatter images and the cameras that they were made for.

        Args:
            views: width · height Gaussians each, row-major.
            c2w: camera-to-world of each view, OpenGL axes.
            intrinsics: of each view.
            depth_reach: farthest that a mean moves along its ray, in pixels at its depth; 0 leaves depths as they are.
            device: of the tensors.

        Raises:
            InputError: when a view has not one Gaussian per pixel, a Gaussian lies a pixel or more beside its own, or none shows.
        """
        taking_part = tuple(view.opacities >= _LEAST_OPACITY for view in views)
        if not any(mask.any() for mask in taking_part):
            raise InputError("no view has a Gaussian that shows")
        parts = [
            _pixels(number, *rest) for number, rest in enumerate(zip(views, taking_part, c2w, intrinsics, strict=True))
        ]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        tensors = {name: torch.tensor(array, dtype=torch.float32, device=device) for name, array in arrays.items()}
        chosen = concatenate([view.select(mask) for view, mask in zip(views, taking_part, strict=True)])
        start = _start_values(GaussianTensors.of(chosen, device), tensors.pop("offsets"))
        pairs = torch.tensor(_neighbours(taking_part, intrinsics, arrays), device=device)
        return cls(tuple(views), taking_part, **tensors, depth_reach=depth_reach, start=start, neighbours=pairs)

    def __len__(self) -> int:
        return int(self.depths.shape[0])

    def gaussians(self, values: Values) -> GaussianTensors:
        """The Gaussians of all pixels that take part; gradients flow to `values`."""
        shifts = _REACH * torch.tanh(values["shifts"])
        rays = self.rays + shifts[:, :1] * self.right + shifts[:, 1:] * self.down
        depths = self.depths * torch.exp(self.depth_shifts(values) / self.focal)
        return GaussianTensors(
            means=self.eyes + depths[:, None] * rays,
            quaternions=values["quaternions"],
            scales=torch.exp(values["scales"]),
            opacities=torch.sigmoid(values["opacities"]),
            colours=values["colours"],
        )

    def depth_shifts(self, values: Values) -> Float[Tensor, " n"]:
        """How far the means have moved along their rays, away from the camera, in pixels at their depths."""
        if not self.depth_reach:
            return torch.zeros_like(self.depths)
        return self.depth_reach * torch.tanh(values["depths"] / self.depth_reach)

    def roughness(self, values: Values) -> Float[Tensor, ""]:
        """Mean difference of neighbours' depth shifts, pixels; 0 of a surface that moves as a whole."""
        first, second = self.depth_shifts(values)[self.neighbours].unbind(1)
        return (first - second).abs().sum() / max(len(self.neighbours), 1)

    def splatter_images(self, values: Values) -> list[Gaussians]:
        """One Gaussian per pixel and view, as the grid was made of; background pixels are those of the start."""
        refined = self.gaussians(values).gaussians()
        images, first = [], 0
        for view, mask in zip(self.views, self.taking_part, strict=True):
            rows = slice(first, first := first + int(mask.sum()))
            images.append(_put(view, mask, refined, rows))
        return images


def confine(values: Values) -> None:
    """Bring values back, in place, to where files and attribute images can hold them."""
    with torch.no_grad():
        values["scales"].clamp_(*_LOG_SCALES)
        values["opacities"].clamp_(*_LOGITS)
        values["colours"].clamp_(0.0, 1.0)


def _pixels(
    number: int,
    view: Gaussians,
    mask: Bool[np.ndarray, " p"],
    c2w: Float[np.ndarray, "4 4"],
    lens: Intrinsics,
) -> dict[str, np.ndarray]:
    """Rays, depths and offsets, in pixels, of one view's Gaussians that take part."""
    if len(view) != lens.width * lens.height:
        raise InputError(
            f"view {number} has {len(view)} Gaussians where its camera has {lens.width} × {lens.height} pixels"
        )
    rows, columns = np.mgrid[: lens.height, : lens.width].reshape(2, -1)[:, mask] + 0.5
    axes = opencv_from_opengl(c2w)[:3]
    camera = np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy, np.ones_like(rows)], axis=1)
    seen, depths = project(view.means[mask], c2w, lens)
    offsets = seen - np.stack([columns, rows], axis=1)
    _check_offsets(number, offsets, depths)
    count = len(rows)
    return {
        "eyes": np.tile(axes[:, 3], (count, 1)),
        "rays": camera @ axes[:, :3].T,
        "right": np.tile(axes[:, 0] / lens.fx, (count, 1)),
        "down": np.tile(axes[:, 1] / lens.fy, (count, 1)),
        "depths": depths,
        "focal": np.full(count, np.sqrt(lens.fx * lens.fy)),
        "offsets": offsets,
    }


def _neighbours(
    taking_part: Sequence[Bool[np.ndarray, " p"]], intrinsics: Sequence[Intrinsics], pixels: dict[str, np.ndarray]
) -> Int[np.ndarray, "m 2"]:
    """Pairs of rows whose pixels adjoin and whose depths differ by no more than a slant makes."""
    pairs, first = [], 0
    for mask, lens in zip(taking_part, intrinsics, strict=True):
        rows = np.full(mask.shape, -1)
        rows[mask] = np.arange(first, first := first + int(mask.sum()))
        grid = rows.reshape(lens.height, lens.width)
        across = np.stack([grid[:, :-1], grid[:, 1:]], axis=-1).reshape(-1, 2)
        down = np.stack([grid[:-1], grid[1:]], axis=-1).reshape(-1, 2)
        pairs.append(np.concatenate([across, down]))
    candidates = np.concatenate(pairs)
    candidates = candidates[(candidates >= 0).all(axis=1)]
    depths, focal = pixels["depths"][candidates], pixels["focal"][candidates[:, 0]]
    step = np.abs(depths[:, 0] - depths[:, 1]) * focal / depths.min(axis=1)
    return candidates[step < _SAME_SURFACE]


def _check_offsets(number: int, offsets: Float[np.ndarray, "n 2"], depths: Float[np.ndarray, " n"]) -> None:
    """Refuse Gaussians that are not those of this camera's pixels."""
    bad = ~((np.abs(offsets) < 1.0).all(axis=1) & (depths > 0.0))
    if bad.any():
        raise InputError(
            f"view {number}: {int(bad.sum())} of {len(bad)} Gaussians lie a pixel or more beside their own",
            "give the camera that the splatter image was made for",
        )


def _start_values(gaussians: GaussianTensors, offsets: Float[Tensor, "n 2"]) -> Values:
    values = {
        "depths": torch.zeros_like(gaussians.opacities),
        "shifts": torch.atanh(offsets.clamp(-_INSIDE, _INSIDE) / _REACH),
        "quaternions": gaussians.quaternions,
        "scales": torch.log(gaussians.scales),
        "opacities": torch.logit(gaussians.opacities, eps=1e-6),
        "colours": gaussians.colours,
    }
    confine(values)
    return values


def _put(view: Gaussians, mask: Bool[np.ndarray, " p"], refined: Gaussians, rows: slice) -> Gaussians:
    """A view with its Gaussians at `mask` replaced by the given rows of the refined ones."""
    changed = {}
    for name in ("means", "quaternions", "scales", "opacities", "colours"):
        changed[name] = getattr(view, name).copy()
        changed[name][mask] = getattr(refined, name)[rows]
    return replace(view, **changed)
