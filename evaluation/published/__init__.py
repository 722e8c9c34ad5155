"""Figures that papers published, each with the protocol that it was measured under and where it was read."""
