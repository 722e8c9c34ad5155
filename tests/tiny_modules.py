"""Sections of parameters for the smallest modules that tests train: those that more than one system has."""

from typing import Any

IMAGE_ENCODER: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "embedding_dim": 16,
}
"""Of tests that ask for a network and not for what it learns."""
LEARNING_IMAGE_ENCODER: dict[str, Any] = {**IMAGE_ENCODER, "patch_size": 4, "hidden_size": 32, "embedding_dim": 32}
"""Of the proofs of learning."""
