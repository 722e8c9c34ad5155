"""Splatter images as PyTorch tensors: channels, attribute images and Gaussians of one another, differentiable.

The twin of geometry.attribute_images and geometry.splatter_tensor for what is trained. Channels (14, H, W) are those of
`geometry.splatter_tensor.CHANNELS`: position 3, opacity 1, linear scale 3, rotation wxyz 4, RGB 3.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geometry.attribute_images import ATTRIBUTES, HALF_TURNS, ZERO_1_TO_G, AttributeRanges
from geometry.gaussian_tensors import GaussianTensors

_SIZES = (3, 1, 3, 4, 3)
# Below it an opacity's logit is taken as that of this one: a float has no logit of 0.
_LEAST_OPACITY = 1e-6
# Angles below it have sin(angle / 2) / angle = 1/2 to a float's precision, and no direction to divide by.
_LEAST_ANGLE = 1e-4


def encode_channels(
    channels: Float[Tensor, "*n 14 h w"], ranges: AttributeRanges = ZERO_1_TO_G
) -> Float[Tensor, "*n 5 3 h w"]:
    """Attribute images in [−1, 1], clipped, in the order of `ATTRIBUTES`; as `attribute_images.encode`."""
    position, opacity, scale, rotation, colour = channels.split(_SIZES, dim=-3)
    if ranges.logit_opacity:
        opacity = torch.logit(opacity, _LEAST_OPACITY)
    attributes = {
        "position": position,
        "opacity": opacity.expand_as(position),
        "scale": scale.log(),
        "rotation": _axis_angles(rotation, ranges.rotation),
        "colour": colour,
    }
    images = [_unit_range(attributes[name], getattr(ranges, name)) for name in ATTRIBUTES]
    return torch.stack(images, dim=-4).clamp(-1.0, 1.0)


def decode_attributes(
    images: Float[Tensor, "*n 5 3 h w"], ranges: AttributeRanges = ZERO_1_TO_G
) -> Float[Tensor, "*n 14 h w"]:
    """Channels of attribute images; values beyond [−1, 1] are clipped, so that nothing flows to them."""
    parts = images.clamp(-1.0, 1.0).unbind(dim=-4)
    named = {name: _from_unit_range(part, getattr(ranges, name)) for name, part in zip(ATTRIBUTES, parts, strict=True)}
    opacity = named["opacity"].mean(dim=-3, keepdim=True)
    return torch.cat(
        [
            named["position"],
            opacity.sigmoid() if ranges.logit_opacity else opacity.clamp(0.0, 1.0),
            named["scale"].exp(),
            _quaternions(named["rotation"]),
            named["colour"],
        ],
        dim=-3,
    )


def gaussians_of(channels: Float[Tensor, "v 14 h w"]) -> GaussianTensors:
    """The Gaussians of all views, view by view and row-major."""
    table = channels.movedim(-3, -1).reshape(-1, sum(_SIZES))
    means, opacities, scales, quaternions, colours = table.split(_SIZES, dim=-1)
    return GaussianTensors(means, quaternions, scales, opacities[:, 0], colours)


def turned(channels: Float[Tensor, "*n 14 h w"], angle: Float[Tensor, "*n"]) -> Float[Tensor, "*n 14 h w"]:
    """Gaussians turned about the world's Z.

    Args:
        channels: position and rotation turn, the rest stays.
        angle: radians, counter-clockwise seen from above.
    """
    position, opacity, scale, rotation, colour = channels.split(_SIZES, dim=-3)
    cos, sin = (part[..., None, None].to(channels) for part in (angle.cos(), angle.sin()))
    x, y, z = position.unbind(dim=-3)
    moved = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-3)
    half_cos, half_sin = (part[..., None, None].to(channels) for part in ((angle / 2).cos(), (angle / 2).sin()))
    w, i, j, k = rotation.unbind(dim=-3)
    # (cos, 0, 0, sin) times the quaternion.
    parts = (half_cos * w - half_sin * k, half_cos * i - half_sin * j, half_cos * j + half_sin * i)
    return torch.cat(
        [moved, opacity, scale, torch.stack([*parts, half_cos * k + half_sin * w], dim=-3), colour], dim=-3
    )


def _axis_angles(quaternions: Float[Tensor, "*n 4 h w"], bounds: tuple[float, float]) -> Float[Tensor, "*n 3 h w"]:
    """As `attribute_images`: the vector of the rotation itself where it fits the range, of an equal least one elsewhere."""
    unit = quaternions / quaternions.norm(dim=-3, keepdim=True)
    vectors = _vectors(unit)
    low, high = bounds
    outside: Bool[Tensor, "*n 1 h w"] = ((vectors < low) | (vectors > high)).any(dim=-3, keepdim=True)
    return torch.where(outside, _vectors(_least_rotations(unit)), vectors)


def _least_rotations(quaternions: Float[Tensor, "*n 4 h w"]) -> Float[Tensor, "*n 4 h w"]:
    largest = quaternions.abs().argmax(dim=-3, keepdim=True)
    least = quaternions
    for component, (order, signs) in enumerate(HALF_TURNS):
        factors = quaternions.new_tensor(signs)[:, None, None]
        least = torch.where(largest == component, quaternions[..., list(order), :, :] * factors, least)
    return least


def _vectors(quaternions: Float[Tensor, "*n 4 h w"]) -> Float[Tensor, "*n 3 h w"]:
    """Axis times angle in [0, π] of unit quaternions."""
    positive = torch.where(quaternions[..., :1, :, :] < 0, -quaternions, quaternions)
    w, axis = positive[..., :1, :, :], positive[..., 1:, :, :]
    # A root has no slope at 0.
    length = axis.square().sum(dim=-3, keepdim=True).clamp(min=_LEAST_ANGLE**2 / 16).sqrt()
    return axis * (2.0 * torch.atan2(length, w) / length)


def _quaternions(vectors: Float[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 4 h w"]:
    """Unit quaternions wxyz of axis-angle vectors."""
    angle = vectors.square().sum(dim=-3, keepdim=True).clamp(min=_LEAST_ANGLE**2).sqrt()
    return torch.cat([(angle / 2).cos(), vectors * ((angle / 2).sin() / angle)], dim=-3)


def _unit_range(values: Float[Tensor, "*n 3 h w"], bounds: tuple[float, float]) -> Float[Tensor, "*n 3 h w"]:
    low, high = bounds
    return (values - low) / (high - low) * 2.0 - 1.0


def _from_unit_range(values: Float[Tensor, "*n 3 h w"], bounds: tuple[float, float]) -> Float[Tensor, "*n 3 h w"]:
    low, high = bounds
    return low + (values + 1.0) * 0.5 * (high - low)
