"""Splatter images as pictures: the Gaussians of one view as five 3-channel images in [−1, 1], and back.

Position, opacity, log-scale, rotation and colour, each mapped from a fixed range to [−1, 1] and clipped, are what Zero-1-to-G
gives its image autoencoder (mengxuyiGit/LGM, `utils/splatter_utils.py`: order, ranges and mappings; opacity is repeated
to three channels and their mean is read back). Rotations are axis-angle vectors, whose length reaches π where the range
ends at 3; the few beyond it give way to another that the Gaussian's shape does not tell from it (`least_rotations`), so
that none is clipped. Harmonics have no image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy.typing import DTypeLike
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit

from geometry.gaussians import Gaussians
from geometry.splatter_tensor import check_view
from stage.errors import InputError

ATTRIBUTES = ("position", "opacity", "scale", "rotation", "colour")
_Range = tuple[float, float]
HALF_TURNS = (
    ((0, 1, 2, 3), (1, 1, 1, 1)),
    ((1, 0, 3, 2), (1, -1, -1, 1)),
    ((2, 3, 0, 1), (1, 1, -1, -1)),
    ((3, 2, 1, 0), (1, -1, 1, -1)),
)
"""A component's row: q · conj(1, i, j or k), the rotation with a half turn before it that brings the component to w."""


@dataclass(frozen=True)
class AttributeRanges:
    """What is mapped to −1 and to 1."""

    position: _Range = (-0.7, 0.7)
    """World units."""
    opacity: _Range = (0.0, 1.0)
    """Opacities, or their logits."""
    scale: _Range = (-10.0, -2.0)
    """Natural logarithms of standard deviations in world units."""
    rotation: _Range = (-3.0, 3.0)
    """Components of the axis-angle vector, radians."""
    colour: _Range = (0.0, 1.0)
    """RGB, sRGB."""
    logit_opacity: bool = False
    """Whether the opacity's image holds logits."""


ZERO_1_TO_G = AttributeRanges()
# Its option `use_inverse_op`.
ZERO_1_TO_G_LOGIT = AttributeRanges(opacity=(-14.0, 9.0), logit_opacity=True)


@dataclass(frozen=True, eq=False)
class AttributeImages:
    """One view's attributes in the order of `ATTRIBUTES`, row-major as its Gaussians."""

    values: Float32[np.ndarray, "5 3 h w"]
    """In [−1, 1]."""
    clipped: Bool[np.ndarray, "5 3 h w"]
    """Values that lay outside of their range and are not what they were."""

    def clipped_counts(self) -> dict[str, int]:
        """How many values of each attribute's three channels were clipped."""
        return {name: int(mask.sum()) for name, mask in zip(ATTRIBUTES, self.clipped, strict=True)}


def encode(gaussians: Gaussians, height: int, width: int, ranges: AttributeRanges = ZERO_1_TO_G) -> AttributeImages:
    """The images of one view's Gaussians.

    Args:
        gaussians: H·W, row-major.
        height: H, pixels.
        width: W, pixels.
        ranges: what is mapped to [−1, 1].

    Raises:
        InputError: when there are not H·W of them.
    """
    check_view(gaussians, height, width)
    opacities = gaussians.opacities.astype(np.float64)
    attributes = {
        "position": gaussians.means,
        "opacity": np.repeat((logit(opacities) if ranges.logit_opacity else opacities)[:, None], 3, axis=1),
        "scale": np.log(gaussians.scales.astype(np.float64)),
        "rotation": _axis_angles(gaussians.quaternions, ranges.rotation),
        "colour": gaussians.colours,
    }
    table = np.stack([_unit_range(attributes[name], getattr(ranges, name)) for name in ATTRIBUTES])
    images = table.transpose(0, 2, 1).reshape(len(ATTRIBUTES), 3, height, width)
    return AttributeImages(images.clip(-1.0, 1.0).astype(np.float32), np.abs(images) > 1.0)


def decode(values: Float[np.ndarray, "5 3 h w"], ranges: AttributeRanges = ZERO_1_TO_G) -> Gaussians:
    """The Gaussians of one view's images, row-major; values beyond [−1, 1] are clipped, as a network's may be.

    Raises:
        InputError: when the images have another shape or a value that is no number.
    """
    if values.ndim != 4 or values.shape[:2] != (len(ATTRIBUTES), 3):
        raise InputError(f"attribute images have shape {values.shape} where (5, 3, H, W) is expected")
    table = np.asarray(values, dtype=np.float64).clip(-1.0, 1.0).reshape(len(ATTRIBUTES), 3, -1).transpose(0, 2, 1)
    attributes = {
        name: _from_unit_range(each, getattr(ranges, name)) for name, each in zip(ATTRIBUTES, table, strict=True)
    }
    opacities = attributes["opacity"].mean(axis=1)
    return Gaussians(
        means=attributes["position"],
        quaternions=Rotation.from_rotvec(attributes["rotation"]).as_quat(scalar_first=True),
        scales=np.exp(attributes["scale"]),
        opacities=expit(opacities) if ranges.logit_opacity else opacities.clip(0.0, 1.0),
        colours=attributes["colour"],
    )


def quantize(values: Float[np.ndarray, "..."], dtype: DTypeLike) -> np.ndarray:
    """Values in [−1, 1] as they are stored: float32 or float16, or uint8 or uint16 with 0 for −1 and the largest for 1.

    Half a step is 1/255 or 1/65535; float16 rounds to 2⁻¹² and float32 to 2⁻²⁵ at most.
    """
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    levels = np.iinfo(np.dtype(dtype)).max
    return np.rint((values.astype(np.float64) + 1.0) * 0.5 * levels).astype(dtype)


def dequantize(stored: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Values in [−1, 1] from what `quantize` made."""
    if np.issubdtype(stored.dtype, np.floating):
        return stored.astype(np.float32)
    return (stored * (2.0 / np.iinfo(stored.dtype).max) - 1.0).astype(np.float32)


def least_rotations(quaternions: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Of the four rotations that give a Gaussian the same covariance, the one by the least angle: 120° at most.

    A half turn about one of its own axes leaves a Gaussian as it is, and brings another component of the unit quaternion,
    up to its sign, to the place of w = cos(angle / 2). The largest is at least 1/2 in size, as their squares add up to 1.
    """
    largest = np.abs(quaternions).argmax(axis=1)
    turned = np.empty(quaternions.shape)
    for component, (order, signs) in enumerate(HALF_TURNS):
        chosen = largest == component
        turned[chosen] = quaternions[chosen][:, order] * signs
    return turned


def _axis_angles(quaternions: Float[np.ndarray, "n 4"], bounds: _Range) -> Float[np.ndarray, "n 3"]:
    """Axis-angle vectors of the rotations where they fit the range, of equal ones by the least angle elsewhere.

    To take the least everywhere would tear more neighbours apart: its choice jumps in more places than at 180°.
    """
    vectors = _vectors(quaternions)
    outside = np.any((vectors < bounds[0]) | (vectors > bounds[1]), axis=1)
    return np.where(outside[:, None], _vectors(least_rotations(quaternions)), vectors)


def _vectors(quaternions: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 3"]:
    vectors: np.ndarray = Rotation.from_quat(quaternions, scalar_first=True).as_rotvec()
    return vectors


def _unit_range(values: Float[np.ndarray, "n 3"], bounds: _Range) -> Float[np.ndarray, "n 3"]:
    low, high = bounds
    return (np.asarray(values, dtype=np.float64) - low) / (high - low) * 2.0 - 1.0


def _from_unit_range(values: Float[np.ndarray, "n 3"], bounds: _Range) -> Float[np.ndarray, "n 3"]:
    low, high = bounds
    return low + (values + 1.0) * 0.5 * (high - low)
