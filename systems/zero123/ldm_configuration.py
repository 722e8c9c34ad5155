"""The configuration of a network in the original (CompVis/LDM) form: a YAML file beside the checkpoint.

`sd-objaverse-finetune-c_concat-256.yaml` is the published one; it is the default here.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from diffusers import DDIMScheduler
from diffusers.loaders.single_file_utils import (
    create_unet_diffusers_config_from_ldm,
    create_vae_diffusers_config_from_ldm,
)

from stage.errors import InputError

# What decides the network in cvlab-columbia/zero123 configs/sd-objaverse-finetune-c_concat-256.yaml.
PUBLISHED: dict[str, Any] = {
    "model": {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "num_timesteps_cond": 1,
            "timesteps": 1000,
            "first_stage_key": "image_target",
            "cond_stage_key": "image_cond",
            "image_size": 32,
            "channels": 4,
            "cond_stage_trainable": False,
            "conditioning_key": "hybrid",
            "scale_factor": 0.18215,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": 32,
                    "in_channels": 8,
                    "out_channels": 4,
                    "model_channels": 320,
                    "attention_resolutions": [4, 2, 1],
                    "num_res_blocks": 2,
                    "channel_mult": [1, 2, 4, 4],
                    "num_heads": 8,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": 768,
                    "use_checkpoint": True,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": 256,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 128,
                        "ch_mult": [1, 2, 4, 4],
                        "num_res_blocks": 2,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPImageEmbedder"},
        },
    },
}


@dataclass(frozen=True)
class LdmConfiguration:
    """What a configuration says of the networks and the noise schedule.

    Args:
        unet: arguments of `UNet2DConditionModel`.
        vae: arguments of `AutoencoderKL`.
        linear_start: β of the first step.
        linear_end: β of the last step; √β is linear between them.
        timesteps: T.
        prediction_type: what the denoiser predicts, in diffusers' words.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    linear_start: float
    linear_end: float
    timesteps: int
    prediction_type: str = "epsilon"

    @property
    def scheduler(self) -> DDIMScheduler:
        """Its noise schedule."""
        return ddim_scheduler(self.linear_start, self.linear_end, self.timesteps, self.prediction_type)


def ddim_scheduler(start: float, end: float, timesteps: int, prediction_type: str) -> DDIMScheduler:
    """The schedule as the original sampler walks it: timesteps from 1, and ᾱ₀ before the last.

    Source: cvlab-columbia/zero123 `ldm/models/diffusion/ddim.py` and `ldm/modules/diffusionmodules/util.py`.
    """
    return DDIMScheduler(
        num_train_timesteps=timesteps,
        beta_start=start,
        beta_end=end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def read_configuration(path: Path | None) -> LdmConfiguration:
    """A YAML file's configuration, or the published one for None.

    Raises:
        InputError: when the file is missing, no YAML, or lacks what the networks need.
    """
    if path is None:
        return from_original(PUBLISHED, "the published configuration")
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no configuration {path}", "give the YAML file that belongs to the checkpoint") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}", "give a YAML file") from None
    return from_original(content, path)


def from_original(content: Mapping[str, Any], place: object) -> LdmConfiguration:
    """What the content of a YAML file says.

    Args:
        content: as in `PUBLISHED`.
        place: what to call it in an error.

    Raises:
        InputError: when it lacks something.
    """
    try:
        # diffusers' functions read `transformer_depth` without a default; LDM's network has 1.
        original = copy.deepcopy(dict(content))
        params = original["model"]["params"]
        params["unet_config"]["params"].setdefault("transformer_depth", 1)
        unet = create_unet_diffusers_config_from_ldm(original, {})
        vae = create_vae_diffusers_config_from_ldm(original, {})
        latent = int(params.get("image_size", 32))
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        return LdmConfiguration(
            unet=unet | {"sample_size": latent},
            vae=vae | {"sample_size": latent * factor},
            linear_start=float(params["linear_start"]),
            linear_end=float(params["linear_end"]),
            timesteps=int(params.get("timesteps", 1000)),
            prediction_type={"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[
                params.get("parameterization", "eps")
            ],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"lacks or has wrong {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{place} is no configuration of a latent diffusion network: {reason}",
            "give the YAML file that belongs to the checkpoint",
        ) from None
