"""Zero-1-to-3's modules as they will be loaded or made, for whoever wants their shapes and not their weights.

Called within `torch.device("meta")` or a `FakeTensorMode` they take no memory: `training.dry_run` counts with them.
"""

import json
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.zero123.conditioning import CCProjection
from systems.zero123.modules import Autoencoder, Zero123Modules
from systems.zero123.space_to_depth import SpaceToDepth

INDEX = "model_index.json"


def modules_of_folder(folder: Path) -> Zero123Modules:
    """The modules of a pipeline folder by its configurations; no weights are read.

    Raises:
        InputError: when there is no such folder, or a configuration is missing or damaged.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} is no diffusers pipeline", "put one there, or change train.zero123.pretrained")
    try:
        return Zero123Modules(
            unet=UNet2DConditionModel.from_config(_config(folder / "unet")),
            cc_projection=CCProjection.from_config(_config(folder / "cc_projection")),
            image_encoder=model_of_shapes(CLIPVisionModelWithProjection, folder / "image_encoder"),
            vae=_autoencoder(_config(folder / "vae")),
            scheduler=DDIMScheduler.from_config(_config(folder / "scheduler", "scheduler_config.json")),
        )
    except (OSError, ValueError, TypeError, LookupError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} cannot be read: {reason}", "restore it, or make it again") from None


def published_modules() -> Zero123Modules:
    """The published network: Stable Diffusion's with four more input channels, its VAE, and CLIP ViT-L/14.

    Sources: cvlab-columbia/zero123 `configs/sd-objaverse-finetune-c_concat-256.yaml`; the `config.json` files of
    lambdalabs/sd-image-variations-diffusers.
    """
    attending = ("CrossAttnDownBlock2D",) * 3
    return Zero123Modules(
        unet=UNet2DConditionModel(
            sample_size=32,
            in_channels=8,
            out_channels=4,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            down_block_types=(*attending, "DownBlock2D"),
            up_block_types=("UpBlock2D", *(name.replace("Down", "Up") for name in attending)),
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        cc_projection=CCProjection(768),
        image_encoder=CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                image_size=224,
                patch_size=14,
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                projection_dim=768,
            )
        ),
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )


def model_of_shapes(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - diffusers' or transformers' class
    """A model by its folder's configuration; as `systems.zero123.community_folder.load_model`, and no weights are read.

    Raises:
        OSError: when there is no configuration.
        ValueError: when it is no JSON.
    """
    values = _config(folder)
    if kind is CLIPVisionModelWithProjection:
        return kind(CLIPVisionConfig(**values))
    return kind.from_config(values)


def networks(modules: Zero123Modules) -> dict[str, nn.Module]:
    """The parts that have weights by the name of their folder."""
    return {
        name: getattr(modules, name)
        for name in ("unet", "cc_projection", "image_encoder", "vae")
        if isinstance(getattr(modules, name), nn.Module)
    }


def _autoencoder(config: dict[str, object]) -> Autoencoder:
    kind = SpaceToDepth if config.get("_class_name") == SpaceToDepth.__name__ else AutoencoderKL
    return kind.from_config(config)


def _config(folder: Path, name: str = "config.json") -> dict[str, object]:
    values = json.loads((folder / name).read_text())
    if not isinstance(values, dict):
        raise TypeError(f"{folder / name} is no mapping")
    return values
