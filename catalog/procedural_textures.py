"""The colours on procedural objects: small images and vertex colours, from arrays.

An image spans [0, 1]² of the texture coordinates and closes on itself, so that it may repeat (a gradient closes along
u only; `catalog.procedural_meshes` keeps v in [0, 1] except on rings).
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.procedural_parts import Look, Texture

Floats = NDArray[np.float64]

SIDE = 64
"""Pixels along the side of a texture."""


def texture_png(look: Look) -> bytes:
    """The image of a textured look as PNG, sRGB, `SIDE` × `SIDE`.

    Raises:
        ValueError: the look has no texture.
    """
    if look.texture is None:
        raise ValueError("a look without a texture has no image")
    weight = _PATTERNS[look.texture](look.variant)[..., None]
    pixels = np.asarray(look.color) * (1 - weight) + np.asarray(look.second) * weight
    stream = io.BytesIO()
    # Image rows run downwards, v upwards.
    Image.fromarray((pixels[::-1] * 255).round().astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def vertex_colors(look: Look, vertices: Floats) -> Floats:
    """Linear RGBA [V, 4] that blends from the look's `color` to its `second` along one axis of the part."""
    axis = (2, 0, 2, 1)[look.variant % 4]
    low, high = vertices[:, axis].min(), vertices[:, axis].max()
    weight = ((vertices[:, axis] - low) / max(high - low, 1e-9))[:, None]
    rgb = linear_from_srgb(np.asarray(look.color)) * (1 - weight) + linear_from_srgb(np.asarray(look.second)) * weight
    return np.concatenate([rgb, np.ones_like(weight)], axis=1)


def linear_from_srgb(values: Floats) -> Floats:
    """Linear light from sRGB values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _coordinates() -> tuple[Floats, Floats]:
    """Texture coordinates (u, v) of the pixel centres, each [SIDE, SIDE]."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    u, v = np.meshgrid(centres, centres)
    return u, v


def _checker(variant: int) -> Floats:
    u, v = _coordinates()
    cells = (4, 6, 8)[variant % 3]
    return ((np.floor(u * cells) + np.floor(v * cells)) % 2).astype(float)


def _stripes(variant: int) -> Floats:
    u, v = _coordinates()
    phase = ((u, v, u + v)[variant % 3]) * (4, 6)[variant // 3 % 2]
    return (phase % 1 < 0.5).astype(float)


def _dots(variant: int) -> Floats:
    u, v = _coordinates()
    cells = (4, 5, 6)[variant % 3]
    distance = np.hypot(u * cells % 1 - 0.5, v * cells % 1 - 0.5)
    return np.clip((0.34 - distance) * SIDE / cells + 0.5, 0, 1)


def _gradient(_variant: int) -> Floats:
    _, v = _coordinates()
    return 0.5 - 0.5 * np.cos(np.pi * v)


def _noise(variant: int) -> Floats:
    """Blobs: low-pass noise with a steep threshold; the discrete Fourier transform makes it periodic."""
    spectrum = np.fft.fft2(np.random.default_rng(variant).standard_normal((SIDE, SIDE)))
    frequency = np.fft.fftfreq(SIDE) * SIDE
    lowpass = np.exp(-(frequency[:, None] ** 2 + frequency[None, :] ** 2) / (2 * 3.0**2))
    field = np.fft.ifft2(spectrum * lowpass).real
    return np.clip(field / field.std() * 2.5 + 0.5, 0, 1)


_PATTERNS: dict[Texture, Callable[[int], Floats]] = {
    "checker": _checker,
    "stripes": _stripes,
    "dots": _dots,
    "gradient": _gradient,
    "noise": _noise,
}
