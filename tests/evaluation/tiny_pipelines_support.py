"""Pipelines with random weights, small enough to sample within milliseconds."""

from pathlib import Path

from systems.zero123.modules import build_modules
from systems.zero123.parameters import (
    AutoencoderParameters,
    ImageEncoderParameters,
    UNetParameters,
    Zero123Parameters,
)
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.conditioning import pose_dimensions
from systems.zeronvs.pipeline import ZeroNvsPipeline


def save_tiny_pipeline(folder: Path, mode: str | None = None, seed: int = 0, size: int | None = None) -> None:
    """Zero-1-to-3 with random weights, or ZeroNVS of a mode; it says that it was trained on pictures of a size."""
    parameters = Zero123Parameters(
        unet=UNetParameters(block_channels=(32, 32), attention_heads=2),
        autoencoder=AutoencoderParameters(factor=4),
        image_encoder=ImageEncoderParameters(image_size=16, hidden_size=16, layers=1, heads=2, embedding_dim=16),
    )
    m = build_modules(parameters, seed, pose_dimensions(mode or "3dof"))
    if size:
        m.unet.register_to_config(sample_size=size // 4)
    parts = (m.unet, m.cc_projection, m.image_encoder, m.vae, m.scheduler)
    (ZeroNvsPipeline(*parts, mode) if mode else Zero123Pipeline(*parts)).save_pretrained(folder)
