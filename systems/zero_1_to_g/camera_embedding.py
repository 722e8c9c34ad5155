"""What tells the denoiser which view and which attribute an image is: 16 numbers, its class embedding's input.

Elevation e_c of the input camera, the view's elevation and azimuth relative to it, Δe and Δa, and the one-hot attribute, eight
numbers in this order; then the sine of each and the cosine of each, the one-hot's zeros and ones included (Wonder3D,
`train_mvdiffusion_joint_splatter.py` of mengxuyiGit's branch sep_30_jgu, `camera_embedding_type == "e_de_da_sincos"`). Angles are
radians, as in Wonder3D's own loader; the loaders of that branch put in degrees (`mvdiffusion/data/lvis_splatter_dataset.py`,
`provider_lara_splatter_optimized.py`), of whose sine 360° is another azimuth than 0°.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.attribute_images import ATTRIBUTES

EMBEDDING_DIMENSIONS = 2 * (3 + len(ATTRIBUTES))


def attribute_camera_embedding(
    e_condition: Float[Tensor, "*#batch"],
    delta_elevation: Float[Tensor, "*#batch"],
    delta_azimuth: Float[Tensor, "*#batch"],
    attributes: Int[Tensor, "*#batch"],
) -> Float[Tensor, "*batch 16"]:
    """[sin x, cos x] of x = [e_c, Δe, Δa, one-hot of the attribute]; the arguments broadcast.

    Args:
        e_condition: elevation of the input camera above the horizon, radians.
        delta_elevation: of the view minus that of the input camera, radians.
        delta_azimuth: of the view minus that of the input camera, counter-clockwise seen from above, radians.
        attributes: places in `ATTRIBUTES`.
    """
    elevation, higher, turn, attributes = torch.broadcast_tensors(
        e_condition, delta_elevation, delta_azimuth, attributes.to(e_condition.device)
    )
    one_hot = torch.nn.functional.one_hot(attributes, len(ATTRIBUTES)).to(elevation.dtype)
    values = torch.cat([torch.stack([elevation, higher, turn], dim=-1), one_hot], dim=-1)
    return torch.cat([values.sin(), values.cos()], dim=-1)


def sample_embeddings(
    e_condition: Float[Tensor, " b"],
    delta_elevation: Float[Tensor, "b v"],
    delta_azimuth: Float[Tensor, "b v"],
    attributes: Int[Tensor, " a"] | Int[Tensor, "b a"] | None = None,
) -> Float[Tensor, "b v a 16"]:
    """The embeddings of samples' images in the arrangement of `AttributeUNet`.

    Args:
        e_condition: elevations of the input cameras, radians.
        delta_elevation: of the views relative to them, radians.
        delta_azimuth: likewise.
        attributes: which ones the samples have, or each sample has; all five when None.
    """
    if attributes is None:
        attributes = torch.arange(len(ATTRIBUTES), device=e_condition.device)
    each = attributes.reshape(-1, 1, attributes.shape[-1])
    return attribute_camera_embedding(
        e_condition[:, None, None], delta_elevation[:, :, None], delta_azimuth[:, :, None], each
    )


def elevation_and_azimuth(c2w: Float[Tensor, "*n 4 4"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Elevation above the horizon in [−π/2, π/2] and azimuth from +X in (−π, π], radians, of cameras' positions.

    The elevation is π/2 minus the polar angle from +Z of `geometry.cameras.spherical_from_position`. Where a camera looks does
    not count.
    """
    x, y, z = c2w[..., :3, 3].unbind(-1)
    return torch.atan2(z, torch.hypot(x, y)), torch.atan2(y, x)


def relative_angles(
    views: Float[Tensor, "*b v 4 4"], condition: Float[Tensor, "*b 4 4"]
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b v"], Float[Tensor, "*b v"]]:
    """e_c of the input camera, and Δe and Δa of views relative to it; Δa in [−π, π), radians.

    Args:
        views: c2w of the splatter views.
        condition: c2w of the input camera.
    """
    elevation, azimuth = elevation_and_azimuth(views)
    e_condition, a_condition = elevation_and_azimuth(condition)
    turn = azimuth - a_condition[..., None]
    return e_condition, elevation - e_condition[..., None], torch.remainder(turn + math.pi, 2 * math.pi) - math.pi
