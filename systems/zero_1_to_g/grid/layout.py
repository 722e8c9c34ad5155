"""How Zero123++ sees six views: as the tiles of one picture, three rows of two, and in ranges of its own.

Sources: SUDO-AI-3D/zero123plus `diffusers-support/pipeline.py` (`scale_image`, `scale_latents` and their inverses);
mengxuyiGit/LGM `core/models_zero123plus_code.py` (the tiles' order).
"""

from jaxtyping import Float
from torch import Tensor

from stage.errors import InputError

ROWS, COLUMNS = 3, 2
VIEWS = ROWS * COLUMNS
BACKGROUND = 0.5
"""Grey of everything that has a background: `opt.bg`, and 127 of 255 in Zero123++."""

_IMAGE_SCALE = 0.5 / 0.8
_LATENT_SHIFT, _LATENT_SCALE = 0.22, 0.75


def grid_of(views: Float[Tensor, "*b 6 c h w"]) -> Float[Tensor, "*b c gh gw"]:
    """Six views as one picture, row by row: the first two are its top.

    Raises:
        InputError: when there are not six.
    """
    *batch, count, channels, height, width = views.shape
    if count != VIEWS:
        raise InputError(f"{count} views where a grid of {ROWS} by {COLUMNS} has {VIEWS}", "give six")
    tiles = views.reshape(*batch, ROWS, COLUMNS, channels, height, width)
    return tiles.movedim(-3, -5).movedim(-2, -3).reshape(*batch, channels, ROWS * height, COLUMNS * width)


def views_of(grid: Float[Tensor, "*b c gh gw"]) -> Float[Tensor, "*b 6 c h w"]:
    """The six views of a picture, row by row; undoes `grid_of`.

    Raises:
        InputError: when the picture cannot be cut into equal tiles.
    """
    *batch, channels, height, width = grid.shape
    if height % ROWS or width % COLUMNS:
        raise InputError(f"a picture of {height}×{width} cannot be cut into {ROWS}×{COLUMNS} tiles")
    h, w = height // ROWS, width // COLUMNS
    tiles = grid.reshape(*batch, channels, ROWS, h, COLUMNS, w).movedim(-2, -3).movedim(-5, -3)
    return tiles.reshape(*batch, VIEWS, channels, h, w)


def scaled_image(images: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h w"]:
    """Pictures in [−1, 1] as the autoencoder is given them: x · 0.5 / 0.8."""
    return images * _IMAGE_SCALE


def unscaled_image(images: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h w"]:
    """What the autoencoder decodes, as pictures: undoes `scaled_image`."""
    return images / _IMAGE_SCALE


def scaled_latents(latents: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c y x"]:
    """Latents, times the autoencoder's scaling factor, as the denoiser is given them: (x − 0.22) · 0.75."""
    return (latents - _LATENT_SHIFT) * _LATENT_SCALE


def unscaled_latents(latents: Float[Tensor, "*b c y x"]) -> Float[Tensor, "*b c y x"]:
    """Undoes `scaled_latents`."""
    return latents / _LATENT_SCALE + _LATENT_SHIFT
