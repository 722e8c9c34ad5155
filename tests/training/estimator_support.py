"""Tiny networks of depth as the transformers library saves them, of random weights."""

import json
from pathlib import Path

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
)


def processor(size: int, multiple: int) -> dict[str, object]:
    """`preprocessor_config.json` as published folders have it."""
    return {
        "image_processor_type": "DPTImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "keep_aspect_ratio": False,
        "ensure_multiple_of": multiple,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 3,
    }


def depth_anything(**options: object) -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2"],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    configuration = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        head_in_index=-1,
        **options,
    )
    return DepthAnythingForDepthEstimation(configuration)


def midas() -> DPTForDepthEstimation:
    configuration = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    return DPTForDepthEstimation(configuration)


def saved(model: torch.nn.Module, folder: Path, size: int, multiple: int) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor(size, multiple)))
    return folder
