"""The trained pipeline as an MLflow model that serves by itself: weights, code, requirements and signature."""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from evaluation.parameters import EvaluateParameters
from stage.errors import InputError
from stage.parameters import load_section
from stage.workspace import Workspace
from systems.zero123.foreign_weights import pipeline_class

_REPOSITORY = Path(__file__).resolve().parents[1]
SERVED_MODEL = _REPOSITORY / "mlflow" / "served_model.py"
# Rooms that the pipeline imports. They travel with the model: viewforge is on no package index.
_CODE = ("systems", "stage", "geometry")
# Those that it imports as it is loaded (tests/registry/test_served_model.py).
_PACKAGES = (
    "accelerate",
    "diffusers",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pillow",
    "plyfile",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "transformers",
)
_ANY = -1
# The systems that take what is served, pictures and poses T: of ZeroNVS' modes the one whose vector is T.
_SERVED = ("Zero123Pipeline", "CascadePipeline")
_OF_MODE = ("ZeroNvsPipeline", "3dof")
# What a request may cost (mlflow/served_model.py `Limits`). MLflow lets a server change what is logged, and nothing else.
LIMITS = {"most_poses": 256, "most_denoisings": 20_000, "most_pixels": 2**22, "batch_size": 16}


def log_pipeline(workspace: Workspace, sampling: EvaluateParameters, step: int = 0) -> str:
    """Log the workspace's pipeline to the active run; the id of the logged model.

    Args:
        workspace: whose pipeline.
        sampling: how the evaluation sampled; the served defaults, so that what is served is what was measured.
        step: that the weights were trained to. MLflow links the run's figures of that step with the model.

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
            model_config=LIMITS,
            code_paths=[str(_REPOSITORY / room) for room in _CODE],
            pip_requirements=requirements(),
            signature=signature(picture_size(workspace.model), sampling),
            step=step,
        )
    return str(info.model_id)


def refuse_unserved(workspace: Workspace) -> None:
    """Refuse a pipeline of a system that takes other inputs than those served, or whose figures are of other pictures.

    Raises:
        InputError: naming the system, or the setting.
    """
    folder = workspace.model
    kind = pipeline_class(folder)
    if kind not in _SERVED and (kind, _mode(folder)) != _OF_MODE:
        raise InputError(
            f"{folder} holds a {kind}, and what is served takes pictures and poses of {' or '.join(_SERVED)}, or of "
            f"{' in the mode '.join(_OF_MODE)}",
            "register one of these; load others with systems.pipelines.load_pipeline",
        )
    if load_section(workspace.parameters, "evaluate", EvaluateParameters).view_fusion:
        raise InputError(
            f"{workspace.evaluation} has figures of fused views, and what is served makes each view by itself",
            "set evaluate.view_fusion to null and evaluate again",
        )


def requirements() -> list[str]:
    """Exact versions of what the served code imports; without local labels such as +cpu, which no index has."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in _PACKAGES]


def signature(size: int, sampling: EvaluateParameters) -> ModelSignature:
    """Named tensors in, images out. `size` is the pictures' width and height, −1 for any.

    Only the outputs say how large pictures are, `poses` are (n, 4), and a picture has three channels: what does not fit is to
    be answered in one line by the served model, and MLflow's own check puts the whole input into its answer.
    """
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (_ANY,) * 4, "image"),
        TensorSpec(np.dtype(np.float32), (_ANY,) * 2, "poses"),
    ]
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
        inputs=Schema(inputs),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (_ANY, size, size, 3))]),
        params=ParamSchema(params),
    )


def picture_size(pipeline: Path) -> int:
    """Width and height that a pipeline folder was trained at, or −1 when it does not say."""
    latent = _config(pipeline / "unet").get("sample_size")
    vae = _config(pipeline / "vae")
    factor = vae.get("factor") or 2 ** (len(vae.get("block_out_channels", [])) - 1)
    return int(latent * factor) if isinstance(latent, int) else _ANY


def _mode(folder: Path) -> str | None:
    """Of a ZeroNVS pipeline folder."""
    return _config(folder, "model_index.json").get("mode")


def _config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/{name} cannot be read ({error})", "run viewforge train again") from None
    return values
