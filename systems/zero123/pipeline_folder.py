"""Pipeline folders of ours: read whole, without a hub, and never with weights that no file holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from diffusers import DiffusionPipeline
from safetensors import SafetensorError, safe_open
from torch import nn

from stage.errors import InputError
from systems.zero123.foreign_weights import refuse_foreign

PipelineT = TypeVar("PipelineT", bound=DiffusionPipeline)


def read_pipeline(kind: type[PipelineT], folder: Path) -> PipelineT:
    """The pipeline that was saved in a folder.

    Args:
        kind: its class.
        folder: the pipeline's.

    Raises:
        InputError: when the folder holds none, one of another class, or one that is damaged.
    """
    refuse_foreign(folder, kind.__name__)
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder} is no diffusers pipeline", "run viewforge train, or name a folder that is one")
    try:
        pipeline: PipelineT = kind.from_pretrained(folder, local_files_only=True)
        absent = absent_weights(pipeline.components, folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be loaded: {str(error).splitlines()[0]}", "restore it with dvc pull"
        ) from None
    if absent:
        raise InputError(f"{folder} lacks the weights {absent[0]}", "restore it with dvc pull")
    return pipeline


def absent_weights(modules: Mapping[str, Any], folder: Path) -> list[str]:
    """Weights that no file of a folder holds: the libraries draw them at random and only log it.

    Args:
        modules: by the names of their folders; what has no weights is passed over.
        folder: the pipeline's.
    """
    absent = []
    for name, module in modules.items():
        if isinstance(module, nn.Module):
            stored: set[str] = set()
            for path in (folder / name).glob("*.safetensors"):
                with safe_open(path, framework="pt") as weights:
                    stored.update(weights.keys())
            absent += [f"{name}.{key}" for key in sorted(module.state_dict().keys() - stored)]
    return absent
