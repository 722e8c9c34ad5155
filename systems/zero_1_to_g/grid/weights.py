"""Modules from folders: of our own pipelines, or of Zero123++ (sudo-ai/zero123plus-v1.1), which has no splatter decoder yet."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from stage.errors import InputError
from systems.zero123.foreign_weights import pipeline_class
from systems.zero123.pipeline_folder import absent_weights
from systems.zero123.schedulers import scheduler_named
from systems.zero_1_to_g.grid.conditioning import ImagePrompt
from systems.zero_1_to_g.grid.modules import GridModules, decoder_options
from systems.zero_1_to_g.grid.parameters import SplatterDecoderParameters
from systems.zero_1_to_g.grid.reference_attention import ReferenceUNet
from systems.zero_1_to_g.grid.splatter_decoder import SplatterDecoder

ZERO123PLUS = "Zero123PlusPipeline"
"""The class that its folders name."""

_REMEDY = "download sudo-ai/zero123plus-v1.1 again"
# What `scaled_image` and `picture_embeddings` do, as preprocessor_config.json says it.
_EXTRACTORS = {
    "feature_extractor_vae": ((0.5,) * 3, (0.8,) * 3),
    "feature_extractor_clip": (tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)),
}


def is_zero123plus(folder: Path) -> bool:
    """Whether a folder is one of Zero123++."""
    return pipeline_class(folder) == ZERO123PLUS


def zero123plus_modules(folder: Path, decoder: SplatterDecoderParameters, seed: int) -> GridModules:
    """The modules of a folder of Zero123++, and a splatter decoder that begins as its autoencoder's.

    Args:
        folder: unet, vae, vision_encoder, text_encoder, tokenizer, scheduler, the two feature extractors, model_index.json.
        decoder: of the splatter decoder; its sizes are the autoencoder's.
        seed: of the eleven channels that no autoencoder has.

    Raises:
        InputError: when a part is missing, damaged or of another kind.
    """
    try:
        for name, expected in _EXTRACTORS.items():
            _check_extractor(folder / name / "preprocessor_config.json", *expected)
        unet = ReferenceUNet.from_pretrained(folder / "unet", local_files_only=True)
        vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True)
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "vision_encoder", local_files_only=True)
        absent = absent_weights({"unet": unet, "vae": vae, "vision_encoder": encoder}, folder)
        prompt, scheduler = _prompt(folder), _scheduler(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}", _REMEDY) from None
    if absent:
        raise InputError(f"{folder} lacks the weights {absent[0]}", _REMEDY)
    torch.manual_seed(seed)
    made = SplatterDecoder.from_vae(vae, **decoder_options(decoder))
    return GridModules(unet, vae, made, encoder, prompt, scheduler)


def _prompt(folder: Path) -> ImagePrompt:
    """The embedding of "", once and for all, and the ramping coefficients."""
    coefficients = json.loads((folder / "model_index.json").read_text())["ramping_coefficients"]
    text = _embedding_of_nothing(folder)
    prompt = ImagePrompt(*text.shape)
    if len(coefficients) != len(text):
        raise ValueError(f"{len(coefficients)} ramping coefficients for {len(text)} tokens")
    with torch.no_grad():
        prompt.text.copy_(text)
        prompt.ramping_coefficients.copy_(torch.tensor(coefficients))
    return prompt


@torch.no_grad()
def _embedding_of_nothing(folder: Path) -> Float[Tensor, "t d"]:
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True).eval()
    if absent := absent_weights({"text_encoder": encoder}, folder):
        raise ValueError(f"no weights {absent[0]}")
    length = encoder.config.max_position_embeddings
    tokens = tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    embedding: Float[Tensor, "1 t d"] = encoder(tokens.input_ids).last_hidden_state
    return embedding[0].float()


def _scheduler(folder: Path) -> Any:  # noqa: ANN401 - diffusers'
    """Ancestral Euler steps from the noisiest timestep, as its README samples."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    if config.get("prediction_type") != "v_prediction":
        raise ValueError(f"its denoiser predicts {config.get('prediction_type')}, not v")
    return scheduler_named("euler_ancestral", DDIMScheduler.from_config(config))


def _check_extractor(path: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    config = json.loads(path.read_text())
    found = tuple(config["image_mean"]), tuple(config["image_std"])
    if found != (mean, std):
        raise ValueError(f"{path.parent.name} has mean {found[0]} and spread {found[1]}, not {mean} and {std}")
