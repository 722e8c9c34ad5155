"""Dense depth of a view from a monocular estimator and the few depths that a reconstruction has measured.

    estimator = TransformersEstimator(Path("/weights/dpt-swinv2-tiny-256"))
    depth = densified(estimator.disparity(picture), sparse_depth)

An estimator's disparity is known up to a factor and an offset, which least squares find from the measured depths. Source:
kylesargent/zeronvs_diffusion `ldm/data/common.py`, `get_aligned_monodepths` and `quantile_scale_blend`. Renderings need none of
this: their depth is exact and everywhere.

Nothing is downloaded, and a network of which a weight is missing is refused: transformers would draw it at random.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8
from safetensors import SafetensorError

from geometry.scene_scales import FARTHEST, NEAREST
from stage.errors import InputError
from stage.files import folder_sha256

# What transformers calls the networks whose output is disparity: MiDaS is DPT there. Others give depth.
_OF_DISPARITY = ("dpt", "depth_anything")
_REMEDY = (
    "name a folder with config.json, preprocessor_config.json and model.safetensors of a MiDaS (DPT) or Depth-Anything"
    " model, such as Intel/dpt-swinv2-tiny-256"
)
# Two unknowns, from depths of which some are wrong.
FEWEST = 16


class DepthEstimator(Protocol):
    """What sees how near things are in a single picture."""

    def disparity(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
        """The nearer the larger: inverse depth but for a factor and an offset, of each pixel of an sRGB picture."""


class TransformersEstimator:
    """A MiDaS or Depth-Anything network from a local folder of the transformers library.

    Args:
        folder: as `save_pretrained` writes it, of the model and of its image processor.
        device: where it computes.

    Raises:
        InputError: when it is not available: the folder lacks something, its weights do not fit, or it estimates no disparity.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self._model, self._processor = _model(folder).to(device), _processor(folder)

    def disparity(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
        """The network's disparity at the picture's own pixels."""
        import torch

        # By its channels' place: a picture of three rows would be taken for one of three channels.
        inputs = self._processor(images=picture, input_data_format="channels_last", return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self.device))
        (found,) = self._processor.post_process_depth_estimation(outputs, target_sizes=[picture.shape[:2]])
        disparity: Float[np.ndarray, "h w"] = found["predicted_depth"].float().cpu().numpy()
        return disparity


def estimator_identity(folder: Path) -> str:
    """What tells a network from others: the SHA-256 of its folder.

    Raises:
        InputError: when there is none.
    """
    _require(folder)
    return folder_sha256(folder)


def _require(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise _unavailable(folder, "there is no config.json")


def _model(folder: Path) -> Any:  # noqa: ANN401 - of whatever class its configuration names
    from transformers import AutoConfig, AutoModelForDepthEstimation

    _require(folder)
    try:
        configuration = AutoConfig.from_pretrained(folder, local_files_only=True)
        if why := _of_another_kind(configuration):
            raise _unavailable(folder, why)
        model, report = AutoModelForDepthEstimation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise _unavailable(folder, (str(error).splitlines() or [type(error).__name__])[0]) from None
    unfit = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if unfit:
        raise _unavailable(folder, f"{len(unfit)} weights are missing or do not fit, the first is {unfit[0]}")
    return model.eval()


def _of_another_kind(configuration: Any) -> str:  # noqa: ANN401 - a configuration of transformers
    """Why a network does not give disparity; empty where it does."""
    if configuration.model_type not in _OF_DISPARITY:
        return f"a network of the kind {configuration.model_type} estimates no disparity"
    if getattr(configuration, "depth_estimation_type", "relative") != "relative":
        return "it estimates metric depth, and no disparity"
    return ""


def _processor(folder: Path) -> Any:  # noqa: ANN401 - of whatever class the folder names
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise _unavailable(folder, (str(error).splitlines() or [type(error).__name__])[0]) from None


def _unavailable(folder: Path, why: str) -> InputError:
    return InputError(f"the depth estimator in {folder} is not available: {why}", _REMEDY)


def densified(
    disparity: Float[np.ndarray, "h w"], sparse_depth: Float[np.ndarray, "h w"], *, blend: bool = True
) -> Float[np.ndarray, "h w"]:
    """Depth of every pixel: 1 / (a · disparity + b), clipped to [0.001, 1000].

    a and b minimise Σ (a · disparity + b − 1 / depth)² over the pixels of known depth.

    Args:
        disparity: of an estimator.
        sparse_depth: planar z, scene units; what is 0, negative or not finite is unknown.
        blend: known depths stand for themselves in the result (`quantile_scale_blend`).

    Raises:
        ValueError: when fewer than 16 pixels are known, or their disparity is all the same or not finite, so that a and b
            cannot be told.
    """
    known = np.isfinite(sparse_depth) & (sparse_depth > 0)
    measured = np.clip(sparse_depth[known], NEAREST, FARTHEST).astype(np.float64)
    estimated = disparity[known].astype(np.float64)
    if len(measured) < FEWEST:
        raise ValueError(f"{len(measured)} pixels have depth, {FEWEST} are needed to align an estimate with them")
    # Of what varies by rounding alone no slope can be told.
    if not np.ptp(estimated) > 1e-6 * np.abs(estimated).max():
        raise ValueError("the estimated disparity is the same at all pixels that have depth")
    factor, offset = np.polynomial.polynomial.polyfit(estimated, 1 / measured, 1)[::-1]
    aligned = factor * disparity.astype(np.float64) + offset
    dense = 1 / np.clip(aligned, 1 / FARTHEST, 1 / NEAREST)
    if blend:
        dense[known] = measured
    return dense
