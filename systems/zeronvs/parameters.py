"""Parameters of ZeroNVS: those of Zero-1-to-3, whose network it is, and how it is told of cameras."""

from systems.zero123.parameters import Zero123Parameters


class ZeroNvsParameters(Zero123Parameters):
    """ZeroNVS' modules, diffusion and conditioning."""
