"""The trained pipeline as an MLflow model that serves by itself: weights, code, requirements and signature."""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from evaluation.parameters import EvaluateParameters
from stage.errors import InputError
from stage.workspace import Workspace
from systems.zero123.conditioning import POSE_DIMENSIONS
from systems.zero123.foreign_weights import pipeline_class

_REPOSITORY = Path(__file__).resolve().parents[1]
SERVED_MODEL = _REPOSITORY / "mlflow" / "served_model.py"
# Rooms that the pipeline imports. They travel with the model: viewforge is on no package index.
_CODE = ("systems", "stage", "geometry")
_PACKAGES = (
    "accelerate",
    "diffusers",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pillow",
    "safetensors",
    "torch",
    "transformers",
)
_ANY = -1
# The systems that take what is served: pictures and poses T.
_SERVED = ("Zero123Pipeline", "CascadePipeline")


def log_pipeline(workspace: Workspace, sampling: EvaluateParameters) -> str:
    """Log the workspace's pipeline to the active run; the id of the logged model.

    Args:
        workspace: whose pipeline.
        sampling: how the evaluation sampled; the served defaults, so that what is served is what was measured.

    Raises:
        InputError: when the code file is missing, as in an installation without the repository.
    """
    if not SERVED_MODEL.is_file():
        raise InputError(f"no code file {SERVED_MODEL}", "register from a clone of the repository")
    with warnings.catch_warnings():
        # Not needed beside a signature, and a picture as JSON is megabytes.
        warnings.filterwarnings("ignore", message=".*An input example was not provided", category=UserWarning)
        info = mlflow.pyfunc.log_model(
            name="zero123",
            python_model=str(SERVED_MODEL),
            artifacts={"pipeline": str(workspace.model.resolve())},
            code_paths=[str(_REPOSITORY / room) for room in _CODE],
            pip_requirements=requirements(),
            signature=signature(picture_size(workspace.model), sampling),
        )
    return str(info.model_id)


def refuse_unserved(folder: Path) -> None:
    """Refuse the pipeline of a system that takes other inputs than those served.

    Raises:
        InputError: naming the system.
    """
    if (kind := pipeline_class(folder)) not in _SERVED:
        raise InputError(
            f"{folder} holds a {kind}, and what is served takes pictures and poses of {' or '.join(_SERVED)}",
            "register one of these; load others with systems.pipelines.load_pipeline",
        )


def requirements() -> list[str]:
    """Exact versions of what the served code imports; without local labels such as +cpu, which no index has."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in _PACKAGES]


def signature(size: int, sampling: EvaluateParameters) -> ModelSignature:
    """Named tensors in, images out. `size` is the pictures' width and height, −1 for any."""
    image = (_ANY, size, size, 3)
    pose = TensorSpec(np.dtype(np.float32), (_ANY, POSE_DIMENSIONS), "poses")
    params = [
        ParamSpec("num_inference_steps", DataType.long, sampling.inference_steps),
        ParamSpec("guidance_scale", DataType.double, float(sampling.guidance_scale)),
        ParamSpec("eta", DataType.double, float(sampling.eta)),
        ParamSpec("scheduler", DataType.string, sampling.scheduler or "as_saved"),
        ParamSpec("drop_first_step", DataType.boolean, sampling.drop_first_step),
        ParamSpec("null_condition", DataType.string, sampling.null_condition),
        ParamSpec("seed", DataType.long, 0),
    ]
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), image, "image"), pose]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), image)]),
        params=ParamSchema(params),
    )


def picture_size(pipeline: Path) -> int:
    """Width and height that a pipeline folder was trained at, or −1 when it does not say."""
    latent = _config(pipeline / "unet").get("sample_size")
    vae = _config(pipeline / "vae")
    factor = vae.get("factor") or 2 ** (len(vae.get("block_out_channels", [])) - 1)
    return int(latent * factor) if isinstance(latent, int) else _ANY


def _config(folder: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/config.json cannot be read ({error})", "run viewforge train again") from None
    return values
