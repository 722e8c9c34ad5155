"""Cascade-Zero123 as the training engine sees it."""

from systems.zero123.training import Zero123Training


class CascadeTraining(Zero123Training):
    """The trainable system."""
