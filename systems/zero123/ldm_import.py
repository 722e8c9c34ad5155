"""The system from a checkpoint in the original (CompVis/LDM) format.

A key that is missing, superfluous or of another shape is an error that lists all of them; nothing is loaded in part.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection
from systems.zero123.initialisation import new_projection, widen_input
from systems.zero123.ldm_configuration import LdmConfiguration
from systems.zero123.ldm_names import (
    CLIP,
    EMA,
    PROJECTION,
    UNET,
    VAE,
    clip_layers,
    ema_name,
    ldm_clip,
    ldm_projection,
    ldm_unet,
    ldm_vae,
    transformers_clip,
)
from systems.zero123.modules import Zero123Modules
from systems.zero123.weights_check import Mismatch, mismatches, refuse, require_embedding

Which = Literal["raw", "ema"]
_PARTS = {"unet": UNET, "vae": VAE, "image_encoder": CLIP, "cc_projection": PROJECTION}
# Width of a head in every CLIP of OpenAI's (clip/model.py).
CLIP_HEAD = 64
# Kept in checkpoints and of no use here: the text side of CLIP, the VAE's training losses, EMA's counters.
_UNUSED = (
    EMA,
    "cond_stage_model.model.positional_embedding",
    "cond_stage_model.model.text_projection",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.token_embedding.",
    "cond_stage_model.model.ln_final.",
    "cond_stage_model.mean",
    "cond_stage_model.std",
    "first_stage_model.loss.",
    "logvar",
    "scale_factor",
)
_SCHEDULE = ("betas", "alphas_cumprod", "sqrt_", "log_one_minus_alphas_cumprod", "posterior_", "lvlb_weights")
_REMEDY = "give the configuration that belongs to it with --config"
# Of β in float32, which diffusers and LDM round at different places.
_SAME_SCHEDULE = 1e-5


def modules_from_ldm(
    weights: Mapping[str, Tensor],
    configuration: LdmConfiguration,
    which: Which,
    place: object,
    *,
    encoder: CLIPVisionModelWithProjection | None = None,
    seed: int = 0,
    pose_dimensions: int = POSE_DIMENSIONS,
) -> Zero123Modules:
    """The modules that a checkpoint holds, in float32.

    A checkpoint of SD image-variations, which has half the input channels and no `cc_projection`, gives the state in which
    training of Zero-1-to-3 begins.

    Args:
        weights: by LDM's names.
        configuration: of its networks.
        which: the UNet's own weights, or their running mean.
        place: what to call the checkpoint in an error.
        encoder: the image encoder; the checkpoint's own when None.
        seed: of the pose columns of a new `cc_projection`.
        pose_dimensions: length of the pose vector.

    Raises:
        InputError: when anything does not fit, or the checkpoint has no weights of the kind or no image encoder.
    """
    parts = _parts(weights, which, place)
    begins = _is_image_variations(parts, configuration)
    modules = _empty(configuration, parts, place, pose_dimensions, begins=begins, encoder=encoder)
    expected = {
        "unet": ldm_unet(modules.unet.state_dict(), modules.unet.config.layers_per_block),
        "vae": ldm_vae(modules.vae.state_dict()),
        "cc_projection": {} if begins else ldm_projection(modules.cc_projection.state_dict()),
        "image_encoder": parts["image_encoder"] if encoder else ldm_clip(modules.image_encoder.state_dict()),
    }
    listed = [each for part in _PARTS for each in mismatches(part, expected[part], parts[part])]
    refuse(place, [*listed, *_strangers(weights)], _REMEDY)
    require_embedding(modules.image_encoder, modules.unet, place)
    _check_schedule(weights, configuration.scheduler, place)
    _fill(modules, parts, own_encoder=encoder is None)
    if begins:
        widen_input(modules.unet, 2 * configuration.unet["out_channels"])
        modules.cc_projection = new_projection(modules.unet.config.cross_attention_dim, seed, pose_dimensions)
    return modules


def _empty(
    configuration: LdmConfiguration,
    parts: Mapping[str, Mapping[str, Tensor]],
    place: object,
    pose_dimensions: int,
    *,
    begins: bool,
    encoder: CLIPVisionModelWithProjection | None,
) -> Zero123Modules:
    """The networks without storage, but for an encoder that is given."""
    channels = configuration.unet["out_channels" if begins else "in_channels"]
    with init_empty_weights():
        unet = UNet2DConditionModel(**configuration.unet | {"in_channels": channels})
        vae = AutoencoderKL(**configuration.vae)
        projection = CCProjection(unet.config.cross_attention_dim, pose_dimensions)
    encoder = encoder or _empty_encoder(parts["image_encoder"], place)
    return Zero123Modules(unet, projection, encoder, vae, configuration.scheduler)


def _fill(modules: Zero123Modules, parts: Mapping[str, Mapping[str, Tensor]], *, own_encoder: bool) -> None:
    _load(modules.unet, convert_ldm_unet_checkpoint(parts["unet"], modules.unet.config))
    _load(modules.vae, convert_ldm_vae_checkpoint(parts["vae"], modules.vae.config))
    if own_encoder:
        _load(modules.image_encoder, transformers_clip(parts["image_encoder"]))
    if parts["cc_projection"]:
        named = {f"linear.{name.removeprefix(PROJECTION)}": weight for name, weight in parts["cc_projection"].items()}
        _load(modules.cc_projection, named)


def _parts(weights: Mapping[str, Tensor], which: Which, place: object) -> dict[str, dict[str, Tensor]]:
    """The weights of each module, the UNet's of the kind that is asked for."""
    parts = {
        part: {name: weight for name, weight in weights.items() if name.startswith(start)}
        for part, start in _PARTS.items()
    }
    if which == "raw":
        return parts
    if not any(name.startswith(EMA) for name in weights):
        raise InputError(f"{place} has no running mean of its weights (model_ema.*)", "import it with --weights raw")
    means = {name: weights.get(ema_name(name)) for name in parts["unet"]}
    absent = [
        Mismatch("unet", ema_name(name), tuple(parts["unet"][name].shape), None)
        for name in means
        if means[name] is None
    ]
    refuse(place, absent, "import it with --weights raw")
    return parts | {"unet": {name: mean for name, mean in means.items() if mean is not None}}


def _is_image_variations(parts: Mapping[str, Mapping[str, Tensor]], configuration: LdmConfiguration) -> bool:
    first = parts["unet"].get(f"{UNET}input_blocks.0.0.weight")
    channels = configuration.unet["out_channels"]
    return first is not None and first.shape[1] == channels and not parts["cc_projection"]


def _empty_encoder(weights: Mapping[str, Tensor], place: object) -> CLIPVisionModelWithProjection:
    """An encoder without storage, of the size that OpenAI's weights have (clip/model.py, `build_model`)."""
    if not weights:
        raise InputError(
            f"{place} has no image encoder (cond_stage_model.*)",
            "name a folder of a CLIPVisionModelWithProjection with --image-encoder",
        )
    try:
        width, _, patch, _ = weights[f"{CLIP}conv1.weight"].shape
        grid = round((weights[f"{CLIP}positional_embedding"].shape[0] - 1) ** 0.5)
        embedding = weights[f"{CLIP}proj"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{place} has no image encoder of OpenAI's CLIP: {error}", _REMEDY) from None
    with init_empty_weights():
        return CLIPVisionModelWithProjection(clip_config(width, clip_layers(weights), patch, grid * patch, embedding))


def clip_config(width: int, layers: int, patch: int, image_size: int, embedding: int) -> CLIPVisionConfig:
    """The configuration of an image encoder as OpenAI's code builds it: ViT-L/14 is (1024, 24, 14, 224, 768)."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // CLIP_HEAD),
        patch_size=patch,
        image_size=image_size,
        projection_dim=embedding,
        hidden_act="quick_gelu",
    )


def _strangers(weights: Mapping[str, Tensor]) -> list[Mismatch]:
    """Keys that belong to no module that is known."""
    known = (*_PARTS.values(), *_UNUSED, *_SCHEDULE)
    return [
        Mismatch("checkpoint", name, None, tuple(weight.shape))
        for name, weight in sorted(weights.items())
        if not name.startswith(known)
    ]


def _check_schedule(weights: Mapping[str, Tensor], scheduler: DDIMScheduler, place: object) -> None:
    betas = weights.get("betas")
    if betas is not None and (
        betas.shape != scheduler.betas.shape
        or not torch.allclose(betas.float(), scheduler.betas, rtol=_SAME_SCHEDULE, atol=0)
    ):
        raise InputError(f"{place} was trained with another noise schedule than its configuration says", _REMEDY)


def _load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Take the weights over as they are; in float32 they stay on the disk until they are needed."""
    module.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=True, assign=True)
    module.eval()
