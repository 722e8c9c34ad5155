"""Zero-1-to-3 of the published shape at toy size, with random weights, as its publishers would write it."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from systems.zero123.conditioning import CCProjection
from systems.zero123.ldm_configuration import ddim_scheduler
from systems.zero123.ldm_import import clip_config
from systems.zero123.modules import Zero123Modules

EMBEDDING = 16
_DIFFUSERS = "diffusion_pytorch_model"


def toy_modules(seed: int = 0, unet_input: int = 8) -> Zero123Modules:
    """The five modules; two levels, the finer one attending. A latent is 8 pixels wide, a picture 16."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=unet_input,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=EMBEDDING,
    )
    vae = AutoencoderKL(
        sample_size=16,
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    encoder = CLIPVisionModelWithProjection(clip_config(64, 2, 8, 16, EMBEDDING))
    scheduler = ddim_scheduler(0.00085, 0.012, 1000, "epsilon")
    return Zero123Modules(unet.eval(), CCProjection(EMBEDDING), encoder.eval(), vae.eval(), scheduler)


def community_folder(
    folder: Path, modules: Zero123Modules, projection: str | None = "cc_projection", pickled: bool = False
) -> Path:
    """A folder as zero123-hf (`cc_projection`) or threestudio (`clip_camera_projection`) publish it; None: image-variations."""
    for name in ("unet", "vae", "image_encoder"):
        getattr(modules, name).save_pretrained(folder / name, safe_serialization=True)
    if pickled:
        _pickle(folder, modules)
    index: dict[str, object] = {"_class_name": "Zero1to3StableDiffusionPipeline" if projection else "StableDiffusion"}
    if projection:
        key = {"cc_projection": "projection", "clip_camera_projection": "proj"}[projection]
        linear = modules.cc_projection.linear
        (folder / projection).mkdir()
        (folder / projection / "config.json").write_text("{}")
        weights = {f"{key}.weight": linear.weight.detach(), f"{key}.bias": linear.bias.detach()}
        torch.save(weights, folder / projection / "diffusion_pytorch_model.bin")
    (folder / "scheduler").mkdir()
    schedule = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012}
    schedule |= {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _pickle(folder: Path, modules: Zero123Modules) -> None:
    """The weights as folders of 2022 have them: pickled, and with older names in the VAE's attention."""
    for name, file in {"unet": _DIFFUSERS, "vae": _DIFFUSERS, "image_encoder": "pytorch_model"}.items():
        for path in (folder / name).glob("*.safetensors"):
            path.unlink()
        weights = getattr(modules, name).state_dict()
        if name == "vae":
            weights = {_older(key): weight for key, weight in weights.items()}
        torch.save(weights, folder / name / f"{file}.bin")


def _older(key: str) -> str:
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        key = key.replace(f".{new}.", f".{old}.")
    return key


def assert_same_weights(one: Zero123Modules, other: Zero123Modules) -> None:
    """Every weight of every module agrees bit for bit."""
    for part in ("unet", "cc_projection", "image_encoder", "vae"):
        ours, theirs = _state(getattr(one, part)), _state(getattr(other, part))
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def _state(module: nn.Module) -> dict[str, Tensor]:
    return module.state_dict()
