"""Names of weights in the original (CompVis/LDM) checkpoints, from those of diffusers and transformers.

diffusers converts one way, LDM to its own; this is the way back. It also says which names a checkpoint of a given
network must have, so that a missing one can be named. Sources: cvlab-columbia/zero123 `ldm/modules/diffusionmodules/`
(`openaimodel.py`, `model.py`) and `ldm/modules/ema.py`; openai/CLIP `clip/model.py`.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.model.visual."
PROJECTION = "cc_projection."
EMA = "model_ema."

Weights = Mapping[str, Tensor]

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_UNET_ENDS = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.")
_VAE_PARTS = (
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    (".resnets.", ".block."),
    ("downsamplers.0.", "downsample."),
    ("upsamplers.0.", "upsample."),
    ("group_norm", "norm"),
    ("to_out.0", "proj_out"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
)
_VAE_PROJECTION = re.compile(r"mid\.attn_1\.(q|k|v|proj_out)\.weight")
_CLIP_ENDS = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm.weight": "ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "ln_pre.bias",
    "vision_model.post_layernorm.weight": "ln_post.weight",
    "vision_model.post_layernorm.bias": "ln_post.bias",
}
_CLIP_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_CLIP_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_PROJECTED, _OPENAI_PROJECTED = "visual_projection.weight", "proj"


def ema_name(name: str) -> str:
    """The name of a UNet weight's running mean: LitEma registers it without the dots of its name."""
    return EMA + name.removeprefix("model.").replace(".", "")


def ldm_unet(weights: Weights, layers_per_block: int) -> dict[str, Tensor]:
    """A `UNet2DConditionModel`'s weights under LDM's names.

    Args:
        weights: its state dict.
        layers_per_block: as in its configuration; LDM numbers all blocks in one row.
    """
    names = list(weights)
    return {UNET + _unet_name(name, layers_per_block, names): weight for name, weight in weights.items()}


def ldm_vae(weights: Weights) -> dict[str, Tensor]:
    """An `AutoencoderKL`'s weights under LDM's names; its attention's linear layers become 1×1 convolutions."""
    levels = 1 + max(int(found[2]) for name in weights if (found := _VAE_BLOCK.search(name)))
    renamed = {_vae_name(name, levels): weight for name, weight in weights.items()}
    return {
        VAE + name: weight[:, :, None, None] if _VAE_PROJECTION.search(name) else weight
        for name, weight in renamed.items()
    }


def ldm_projection(weights: Weights) -> dict[str, Tensor]:
    """A `CCProjection`'s weights under LDM's names."""
    return {PROJECTION + name.removeprefix("linear."): weight for name, weight in weights.items()}


def ldm_clip(weights: Weights) -> dict[str, Tensor]:
    """A `CLIPVisionModelWithProjection`'s weights under OpenAI's names; queries, keys and values are one matrix there."""
    renamed = {_CLIP_ENDS[name]: weights[name] for name in _CLIP_ENDS}
    renamed[_OPENAI_PROJECTED] = weights[_PROJECTED].T.contiguous()
    for name, weight in weights.items():
        if (found := _CLIP_LAYER.fullmatch(name)) is None:
            continue
        layer, part, kind = found.groups()
        if part in _CLIP_PARTS:
            renamed[f"transformer.resblocks.{layer}.{_CLIP_PARTS[part]}.{kind}"] = weight
        elif part == _QKV[0]:
            joined = [weights[f"vision_model.encoder.layers.{layer}.{each}.{kind}"] for each in _QKV]
            renamed[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(joined)
    return {CLIP + name: weight for name, weight in renamed.items()}


def transformers_clip(weights: Weights) -> dict[str, Tensor]:
    """OpenAI's image encoder, from names that start with `CLIP`, under transformers' names; what `ldm_clip` undoes."""
    found = {name.removeprefix(CLIP): weight for name, weight in weights.items()}
    renamed = {name: found[openai] for name, openai in _CLIP_ENDS.items()}
    renamed[_PROJECTED] = found[_OPENAI_PROJECTED].T.contiguous()
    for layer in range(clip_layers(weights)):
        ours, theirs = f"vision_model.encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = found[f"{theirs}.attn.in_proj_{kind}"].chunk(len(_QKV))
            renamed |= {f"{ours}.{each}.{kind}": part.clone() for each, part in zip(_QKV, parts, strict=True)}
            renamed |= {f"{ours}.{a}.{kind}": found[f"{theirs}.{b}.{kind}"] for a, b in _CLIP_PARTS.items()}
    return renamed


def clip_layers(names: Iterable[str]) -> int:
    """How many layers OpenAI's image encoder has in a checkpoint."""
    found = (re.match(re.escape(CLIP) + r"transformer\.resblocks\.(\d+)\.", name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _unet_name(name: str, layers_per_block: int, names: list[str]) -> str:
    if (found := _BLOCK.fullmatch(name)) is None:
        return _resnet_name(_replaced_start(name))
    way, block, part, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = block * (layers_per_block + 1)
    match part:
        case "downsamplers":
            return f"input_blocks.{first + layers_per_block + 1}.0.op.{rest.removeprefix('conv.')}"
        case "upsamplers":
            attends = any(other.startswith(f"up_blocks.{block}.attentions.") for other in names)
            return f"output_blocks.{first + layers_per_block}.{2 if attends else 1}.{rest}"
    # LDM's first input block is the convolution alone.
    row = f"input_blocks.{first + index + 1}" if way == "down" else f"output_blocks.{first + index}"
    return f"{row}.1.{rest}" if part == "attentions" else _resnet_name(f"{row}.0.{rest}")


def _replaced_start(name: str) -> str:
    for ours, theirs in _UNET_ENDS:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _resnet_name(name: str) -> str:
    """LDM's names of a residual block's layers; an attention's `norm1` and the like are left alone."""
    if "transformer_blocks" in name:
        return name
    for ours, theirs in _RESNET:
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def _vae_name(name: str, levels: int) -> str:
    """LDM counts the decoder's levels from the finest."""
    for ours, theirs in _VAE_PARTS:
        name = name.replace(ours, theirs)
    name = re.sub(r"down_blocks\.(\d+)", r"down.\1", name)
    return re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{levels - 1 - int(found[1])}", name)
