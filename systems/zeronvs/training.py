"""ZeroNVS as the training engine sees it."""

from systems.zero123.training import Zero123Training


class ZeroNvsTraining(Zero123Training):
    """The trainable system."""
