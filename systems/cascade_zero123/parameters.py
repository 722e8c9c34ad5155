"""Parameters of Cascade-Zero123: those of Zero-1-to-3, and the views that Base-0123 prompts Refiner-0123 with."""

from systems.zero123.parameters import Zero123Parameters


class CascadeParameters(Zero123Parameters):
    """Cascade-Zero123's modules, diffusion and prompts."""
