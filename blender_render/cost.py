"""What an object's rendering is expected to cost: shares are balanced by it, and the slow objects come first."""

from blender_render.parameters import RenderParameters
from catalog.table import Asset

# Measured on spheres of 1,000 to 4.8 million faces (42 kB to 83 MB), 12 views of 64² and 256² pixels at 16 samples, two threads.
_SECONDS = 0.2
_SECONDS_PER_BYTE = 1.2e-7
_SECONDS_PER_FACE = 2.1e-6
_SECONDS_PER_PIXEL = 5.4e-6


def estimated_cost(asset: Asset, parameters: RenderParameters) -> float:
    """Seconds that an object takes, roughly: its import, by its size or its faces if those tell of more, and its pixels.

    Only the proportions matter, so neither samples nor the machine count.
    """
    pixels = parameters.views * parameters.resolution**2
    content = max(asset.bytes * _SECONDS_PER_BYTE, (asset.faces or 0) * _SECONDS_PER_FACE)
    return _SECONDS + content + pixels * _SECONDS_PER_PIXEL
