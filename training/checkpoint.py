"""Checkpoints of a training run: folders that appear whole, the newest few kept.

`step-00000100/` holds `weights.safetensors`, `ema.safetensors`, `optimizer.pt` (loaded with `weights_only`), and `data.json`: the
place in the training data. Randomness needs no state: every draw derives from the seed and its place.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stage.errors import InputError
from stage.files import remove_leftovers, replacing_folder, write_json


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    step: int = 0
    """Steps done."""
    data: dict[str, Any] = field(default_factory=dict)
    """The loader's state; empty at the start."""
    schedule: dict[str, Any] = field(default_factory=dict)
    """The learning rate's state; empty where it has none."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie.
        kept: how many of the newest are kept.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self.kept = folder, kept

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, ascending."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*") if path.is_dir())

    def save(
        self,
        step: int,
        modules: nn.Module,
        ema: EMAModel,
        optimizer: torch.optim.Optimizer,
        data: Mapping[str, Any],
        schedule: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the checkpoint of a step, with the loader's and the schedule's state, and delete the oldest ones."""
        with replacing_folder(self._path(step)) as folder:
            trained = _trained(modules)
            shadow = dict(zip(trained, ema.shadow_params, strict=True))
            save_file({k: v.detach().contiguous() for k, v in trained.items()}, folder / "weights.safetensors")
            save_file({k: v.contiguous() for k, v in shadow.items()}, folder / "ema.safetensors")
            state = {"optimizer": optimizer.state_dict(), "ema_step": ema.optimization_step}
            torch.save({**state, "schedule": dict(schedule or {})}, folder / "optimizer.pt")
            write_json(folder / "data.json", data)
        for old in self.steps()[: -self.kept]:
            shutil.rmtree(self._path(old))

    def load(self, modules: nn.Module, ema: EMAModel, optimizer: torch.optim.Optimizer) -> Resumed:
        """Restore the newest checkpoint, if there is one.

        Raises:
            InputError: when it does not fit the model.
        """
        remove_leftovers(self.folder)
        steps = self.steps()
        if not steps:
            return Resumed()
        folder = self._path(steps[-1])
        trained = _trained(modules)
        try:
            weights, shadow = (
                _fitting(folder / "weights.safetensors", trained),
                _fitting(folder / "ema.safetensors", trained),
            )
            state = torch.load(folder / "optimizer.pt", weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            schedule = state["schedule"]
            data = json.loads((folder / "data.json").read_text())
        except (RuntimeError, ValueError, KeyError, OSError, EOFError, UnpicklingError, SafetensorError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise InputError(f"the checkpoint {folder} does not fit: {reason}", "delete it to start anew") from None
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(weights[name])
        ema.shadow_params = [shadow[name] for name in trained]
        ema.optimization_step = state["ema_step"]
        return Resumed(steps[-1], data, schedule)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def _trained(modules: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in modules.named_parameters() if parameter.requires_grad}


def _fitting(path: Path, trained: dict[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The tensors of a file; ValueError when names or shapes are not the trained ones."""
    tensors: dict[str, torch.Tensor] = load_file(path)
    stored, wanted = ({name: tuple(value.shape) for name, value in some.items()} for some in (tensors, trained))
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise ValueError(f"{path.name} has {name} {stored.get(name)}, the model {wanted.get(name)}")
    return tensors
