"""The system from a diffusers folder as the community publishes it.

Such a folder has `unet/ vae/ image_encoder/ scheduler/` and the projection, which zero123-hf calls `cc_projection` and
threestudio `clip_camera_projection`. Stable Diffusion image-variations has the same without the projection and with four input
channels; it gives the state in which training begins. Weights come from safetensors, or from `.bin` files by torch's restricted
reader (systems/zero123/ldm_checkpoint.py).
"""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from stage.foreign_files import parse_json
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection
from systems.zero123.initialisation import new_projection, widen_input
from systems.zero123.ldm_checkpoint import read_checkpoint
from systems.zero123.ldm_configuration import ddim_scheduler
from systems.zero123.modules import Zero123Modules
from systems.zero123.weights_check import Mismatch, mismatches, refuse, require_embedding

_PROJECTIONS = ("cc_projection", "clip_camera_projection")
_REMEDY = "download the whole folder again, at a fixed revision"
# Written by older versions of transformers, computed today; and the text side of a whole CLIP.
_HARMLESS = ("vision_model.embeddings.position_ids", "text_model.", "text_projection.", "logit_scale")


def modules_from_folder(
    folder: Path, *, variant: str | None = None, encoder: CLIPVisionModelWithProjection | None = None, seed: int = 0
) -> Zero123Modules:
    """The modules that a folder holds, in float32.

    Args:
        folder: a diffusers folder of one of the kinds above.
        variant: of its files, such as `fp16_ema` for `diffusion_pytorch_model.fp16_ema.safetensors`.
        encoder: the image encoder; the folder's own when None.
        seed: of the pose columns of a new `cc_projection`.

    Raises:
        InputError: when a part is missing or damaged, or weights do not fit.
    """
    unet = load_model(UNet2DConditionModel, folder / "unet", variant)
    vae = load_model(AutoencoderKL, folder / "vae", variant)
    if encoder is None:
        encoder = load_encoder(folder / "image_encoder", variant)
    latent, embedding = int(vae.config.latent_channels), int(unet.config.cross_attention_dim)
    place = next((folder / name for name in _PROJECTIONS if (folder / name).is_dir()), None)
    if place is None and unet.config.in_channels == latent:
        widen_input(unet, 2 * latent)
        projection = new_projection(embedding, seed)
    else:
        _require_input(folder, unet, 2 * latent)
        projection = _projection(folder, place, embedding, variant)
    require_embedding(encoder, unet, f"{folder}/unet")
    return Zero123Modules(unet, projection, encoder, vae, _scheduler(folder / "scheduler"))


def load_encoder(folder: Path, variant: str | None = None) -> CLIPVisionModelWithProjection:
    """A CLIP image encoder with projection from a transformers folder, in float32.

    Raises:
        InputError: when the folder holds none, or weights do not fit.
    """
    return load_model(CLIPVisionModelWithProjection, folder, variant)


def load_model(kind: Any, folder: Path, variant: str | None = None) -> Any:  # noqa: ANN401 - diffusers' or transformers' class
    """A model in float32, all of whose weights come from its folder; both libraries would draw the missing ones at random.

    Args:
        kind: diffusers' or transformers' class.
        folder: of its configuration and weights.
        variant: of the weights' files.

    Raises:
        InputError: when the folder holds none, or weights do not fit.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json of a {kind.__name__}", _REMEDY)
    if variant and not list(folder.glob(f"*.{variant}.*")):
        raise InputError(f"{folder} has no files of the variant {variant}", f"it has {_files(folder)}")
    for file in folder.glob("*.bin"):
        # Refuses what would run something, in our words; the libraries' own readers are restricted too.
        read_checkpoint(file)
    try:
        model, report = kind.from_pretrained(folder, output_loading_info=True, **_options(kind, folder, variant))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} cannot be loaded: {first}", _REMEDY) from None
    refuse(folder, _unfit(folder, model, report), _REMEDY)
    return model.eval()


def _options(kind: Any, folder: Path, variant: str | None) -> dict[str, Any]:  # noqa: ANN401 - a class, as above
    pattern = f"*.{variant}.safetensors" if variant else "*.safetensors"
    return {
        "dtype" if kind is CLIPVisionModelWithProjection else "torch_dtype": torch.float32,
        "variant": variant,
        "local_files_only": True,
        "use_safetensors": bool(list(folder.glob(pattern))),
        # Reported, and then refused with the rest.
        "ignore_mismatched_sizes": True,
    }


def _unfit(folder: Path, model: torch.nn.Module, report: Mapping[str, Any]) -> list[Mismatch]:
    extra = {name for name in report["unexpected_keys"] if not name.startswith(_HARMLESS)}
    other = {name for name, *_ in report.get("mismatched_keys", ())}
    names = {*report["missing_keys"], *extra, *other}
    if not names:
        return []
    expected = {name: weight for name, weight in model.state_dict().items() if name in names}
    found = {name: weight for name, weight in _stored(folder).items() if name in extra | other}
    return mismatches(folder.name, expected, found)


def _stored(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder's files."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    return {name: weight for file in files for name, weight in read_checkpoint(file).weights.items()}


def _require_input(folder: Path, unet: UNet2DConditionModel, channels: int) -> None:
    if unet.config.in_channels != channels:
        raise InputError(
            f"{folder}/unet has {unet.config.in_channels} input channels and Zero-1-to-3 needs {channels}",
            "give a folder of Zero-1-to-3 or of image-variations",
        )


def _projection(folder: Path, place: Path | None, embedding: int, variant: str | None) -> CCProjection:
    """The projection, whatever its publisher called the one layer that it has."""
    if place is None:
        raise InputError(f"{folder} has no {' or '.join(_PROJECTIONS)}", _REMEDY)
    weights = read_checkpoint(_weights_file(place, variant)).weights
    # CCProjection.projection of zero123-hf, CLIPCameraProjection.proj of threestudio.
    renamed = {f"linear.{name.rpartition('.')[2]}": weight for name, weight in weights.items()}
    projection = CCProjection(embedding, POSE_DIMENSIONS)
    refuse(place, mismatches("cc_projection", projection.state_dict(), renamed), _REMEDY)
    projection.load_state_dict({name: weight.float() for name, weight in renamed.items()}, strict=True, assign=True)
    return projection.eval()


def _weights_file(folder: Path, variant: str | None) -> Path:
    """Safetensors before `.bin`."""
    stem = f"diffusion_pytorch_model.{variant}" if variant else "diffusion_pytorch_model"
    for suffix in (".safetensors", ".bin"):
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    raise InputError(f"{folder} has no {stem}.safetensors or .bin", f"it has {_files(folder)}")


def _files(folder: Path) -> str:
    return ", ".join(_sorted_names(folder.iterdir())) or "no files"


def _sorted_names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths if not path.name.startswith("."))


def _scheduler(folder: Path) -> DDIMScheduler:
    """The schedule that the weights were trained with, walked as the original sampler does."""
    path = folder / "scheduler_config.json"
    try:
        config = parse_json(path.read_text())
        if config["beta_schedule"] != "scaled_linear":
            raise InputError(f"{path} has the schedule {config['beta_schedule']}", "give one that is scaled_linear")
        return ddim_scheduler(
            float(config["beta_start"]),
            float(config["beta_end"]),
            int(config["num_train_timesteps"]),
            config.get("prediction_type", "epsilon"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error})", _REMEDY) from None
