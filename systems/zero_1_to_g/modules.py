"""Zero-1-to-G's modules: made new from parameters, or taken from a pipeline folder of ours or of image-variations."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError, ParameterError
from systems.zero123.community_folder import load_model
from systems.zero123.modules import Autoencoder, build_image_encoder, latent_channels, unet_options
from systems.zero123.space_to_depth import SpaceToDepth
from systems.zero123.weights_check import require_embedding
from systems.zero_1_to_g.initialisation import attribute_unet_from
from systems.zero_1_to_g.parameters import SplatterAutoencoderParameters, Zero1ToGParameters
from systems.zero_1_to_g.schedule import build_schedule, check_schedule
from systems.zero_1_to_g.unet import AttributeUNet

Networks: TypeAlias = tuple[AttributeUNet, CLIPVisionModelWithProjection, Autoencoder]
"""Denoiser, image encoder and VAE."""
Load: TypeAlias = Callable[[Any, Path], Any]
_REMEDY = "name a folder of Zero-1-to-G or of image-variations as train.zero_1_to_g.pretrained"


@dataclass
class Zero1ToGModules:
    """The four parts of the system."""

    unet: AttributeUNet
    image_encoder: CLIPVisionModelWithProjection
    vae: Autoencoder
    scheduler: DDIMScheduler


def first_modules(parameters: Zero1ToGParameters, seed: int) -> Zero1ToGModules:
    """The modules that a stage of training begins with.

    Args:
        parameters: the stage, and where its modules come from.
        seed: of new weights.

    Raises:
        InputError: when a folder has none, or they do not fit.
        ParameterError: when the parameters ask for a part that only exists pretrained, or contradict the folder.
    """
    return Zero1ToGModules(*first_networks(parameters, seed), first_schedule(parameters))


def build_modules(parameters: Zero1ToGParameters, seed: int) -> Zero1ToGModules:
    """The modules that the parameters describe, with weights drawn from the seed; raises as `first_modules`."""
    return Zero1ToGModules(*_new_networks(parameters, seed), build_schedule(parameters))


def first_networks(parameters: Zero1ToGParameters, seed: int, load: Load = load_model) -> Networks:
    """The networks that a stage of training begins with; arguments and errors as of `first_modules`.

    A folder's denoiser of single attributes gets its cross-attribute attention, and one of pictures all that it lacks, so that it
    starts by computing what it did.

    Args:
        parameters: the stage, and where its modules come from.
        seed: of new weights.
        load: reads a network of a class from its folder.
    """
    if not parameters.pretrained:
        return _new_networks(parameters, seed)
    folder = Path(parameters.pretrained)
    unet, encoder, vae = folder_networks(folder, load)
    if isinstance(unet, AttributeUNet):
        _adapt(unet, parameters, folder)
    else:
        unet = attribute_unet_from(unet, seed, parameters.cross_view, _joins_attributes(parameters))
    _require_latents(folder, unet, vae)
    require_embedding(encoder, unet, f"{folder}/unet")
    return unet, encoder, vae


def first_schedule(parameters: Zero1ToGParameters) -> DDIMScheduler:
    """The schedule that a stage begins with: the denoiser's stages take the parameters', the others a folder's of ours.

    Raises:
        InputError: when a folder has none.
        ParameterError: when the parameters contradict the folder.
    """
    if parameters.pretrained and holds_attributes(Path(parameters.pretrained)):
        return _scheduler(Path(parameters.pretrained), parameters)
    return build_schedule(parameters)


def folder_networks(
    folder: Path, load: Load = load_model
) -> tuple[UNet2DConditionModel, CLIPVisionModelWithProjection, Autoencoder]:
    """The networks of a folder of ours or of image-variations, as they are stored.

    Raises:
        InputError: when the folder holds none.
    """
    vae = load(_class(folder / "vae", {kind.__name__: kind for kind in (AutoencoderKL, SpaceToDepth)}), folder / "vae")
    encoder = load(CLIPVisionModelWithProjection, folder / "image_encoder")
    return load(_denoiser_class(folder), folder / "unet"), encoder, vae


def holds_attributes(folder: Path) -> bool:
    """Whether a folder's denoiser is one of attribute images, and so the folder one of ours.

    Raises:
        InputError: when it holds no denoiser.
    """
    return bool(_denoiser_class(folder) is AttributeUNet)


def _new_networks(parameters: Zero1ToGParameters, seed: int) -> Networks:
    torch.manual_seed(seed)
    vae = _new_autoencoder(parameters)
    options = unet_options(parameters.unet, latent_channels(vae), parameters.image_encoder.embedding_dim)
    unet = AttributeUNet(parameters.cross_view, _joins_attributes(parameters), **options)
    return unet, build_image_encoder(parameters.image_encoder), vae


def _joins_attributes(parameters: Zero1ToGParameters) -> bool:
    """Whether the stage's denoiser has cross-attribute attention: single attributes have nothing to attend to."""
    return parameters.cross_attribute and parameters.stage == "joint"


def _new_autoencoder(parameters: Zero1ToGParameters) -> Autoencoder:
    settings = parameters.autoencoder
    if settings.kind == "space_to_depth":
        return SpaceToDepth(settings.factor, settings.scaling_factor)
    if parameters.stage != "autoencoder":
        raise ParameterError(
            f"the stage {parameters.stage} has no use for an AutoencoderKL without its weights",
            "set train.zero_1_to_g.pretrained to a pipeline folder that has them, or train the stage autoencoder first",
        )
    return _new_kl(settings)


def _new_kl(settings: SplatterAutoencoderParameters) -> AutoencoderKL:
    levels = len(settings.block_channels)
    return AutoencoderKL(
        block_out_channels=settings.block_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=settings.latent_channels,
        norm_num_groups=settings.norm_groups,
        scaling_factor=settings.scaling_factor,
    )


def _denoiser_class(folder: Path) -> Any:  # noqa: ANN401 - a diffusers model class
    return _class(folder / "unet", {each.__name__: each for each in (AttributeUNet, UNet2DConditionModel)})


def _class(folder: Path, kinds: dict[str, Any]) -> Any:  # noqa: ANN401 - a diffusers model class
    """The class that a model's configuration names."""
    path = folder / "config.json"
    try:
        name = json.loads(path.read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error})", _REMEDY) from None
    if name not in kinds:
        raise InputError(f"{path} is of a {name} and not of {' or '.join(kinds)}", _REMEDY)
    return kinds[name]


def _scheduler(folder: Path, parameters: Zero1ToGParameters) -> DDIMScheduler:
    """The folder's schedule, or for stages that train the denoiser the parameters' with its prediction type."""
    path = folder / "scheduler"
    try:
        saved = DDIMScheduler.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}", _REMEDY) from None
    check_schedule(saved)
    if parameters.stage not in ("attributes", "joint"):
        return saved
    if saved.config.prediction_type != parameters.prediction_type:
        raise ParameterError(
            f"the denoiser of {folder} predicts {saved.config.prediction_type} and "
            f"train.zero_1_to_g.prediction_type is {parameters.prediction_type}",
            f"set it to {saved.config.prediction_type}",
        )
    return build_schedule(parameters)


def _adapt(unet: AttributeUNet, parameters: Zero1ToGParameters, folder: Path) -> None:
    """Add what a stage of the denoiser needs to a denoiser of ours, whose kinds of attention have to be the stage's."""
    if parameters.stage not in ("attributes", "joint"):
        return
    if unet.config.cross_view != parameters.cross_view:
        raise ParameterError(
            f"the denoiser of {folder} has cross_view {unet.config.cross_view} and train.zero_1_to_g.cross_view is "
            f"{parameters.cross_view}",
            f"set it to {unet.config.cross_view}",
        )
    if _joins_attributes(parameters):
        unet.add_cross_attribute()


def _require_latents(folder: Path, unet: AttributeUNet, vae: Autoencoder) -> None:
    latent = latent_channels(vae)
    if (unet.config.in_channels, unet.config.out_channels) != (2 * latent, latent):
        raise InputError(
            f"{folder}/unet has {unet.config.in_channels} input and {unet.config.out_channels} output channels for latents of "
            f"{latent}",
            "give a folder whose unet and vae belong together",
        )
