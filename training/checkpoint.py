"""Checkpoints of a training run: folders that appear whole, the newest few kept.

`step-00000100/` holds `weights.safetensors`, `ema.safetensors`, `training_state/`, one file for each thing that has a state, and
`manifest.json`, the sizes and hashes of all of them. The files of states are loaded with `weights_only`. Tensors are whole,
however many processes wrote them.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stage.errors import InputError
from stage.files import file_sha256, remove_leftovers, replacing_folder, write_json

_MANIFEST = "manifest.json"
_STATES = "training_state"
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    step: int
    """Steps done."""
    weights: Tensors
    """The trained weights by their names."""
    averages: Tensors
    """Their moving averages."""
    states: Mapping[str, Any]
    """Everything else by its name."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie.
        kept: how many of the newest are kept.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self.kept = folder, kept

    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*") if path.is_dir())

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and delete the oldest ones."""
        with replacing_folder(self._path(checkpoint.step)) as folder:
            save_file(_contiguous(checkpoint.weights), folder / "weights.safetensors")
            save_file(_contiguous(checkpoint.averages), folder / "ema.safetensors")
            (folder / _STATES).mkdir()
            for name, state in checkpoint.states.items():
                torch.save(state, folder / _STATES / f"{name}.pt")
            write_json(folder / _MANIFEST, _listed(folder))
        for old in self.steps()[: -self.kept]:
            shutil.rmtree(self._path(old))

    def newest(self) -> int:
        """The step of the newest whole checkpoint, 0 without any; damaged ones are deleted, with a line on standard error.

        Raises:
            InputError: when there are checkpoints and none is whole.
        """
        remove_leftovers(self.folder)
        damaged = ""
        for step in reversed(self.steps()):
            fault = _fault(self._path(step))
            if not fault:
                return self._without_later(step)
            damaged = f"the checkpoint {self._path(step)} is damaged: {fault}"
            print(f"train: {damaged}", file=sys.stderr)
        if damaged:
            raise InputError(f"{damaged}, and no older one is whole", f"delete {self.folder} to start anew")
        return 0

    def load(self, step: int, shapes: Mapping[str, torch.Size], averaged: bool = True) -> Checkpoint:
        """The checkpoint of a step.

        Args:
            step: of one that is there.
            shapes: of its weights.
            averaged: whether it holds moving averages of all of them; none otherwise.

        Raises:
            InputError: when it does not fit them.
        """
        folder = self._path(step)
        try:
            weights = _fitting(folder / "weights.safetensors", shapes)
            averages = _fitting(folder / "ema.safetensors", shapes if averaged else {})
            states = {
                path.stem: torch.load(path, weights_only=True, map_location="cpu")
                for path in sorted((folder / _STATES).glob("*.pt"))
            }
        except (RuntimeError, ValueError, OSError, EOFError, UnpicklingError, SafetensorError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise InputError(f"the checkpoint {folder} does not fit: {reason}", "delete it to start anew") from None
        return Checkpoint(step, weights, averages, states)

    def _without_later(self, step: int) -> int:
        """Delete what is newer than the step: it is damaged, and would count among the newest that are kept."""
        for later in self.steps():
            if later > step:
                shutil.rmtree(self._path(later))
        return step

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def _contiguous(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint's files, if anything."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name, listed in manifest.items():
            if (folder / name).stat().st_size != listed["bytes"] or file_sha256(folder / name) != listed["sha256"]:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} is not what was written"
    return ""


def _fitting(path: Path, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The tensors of a file; ValueError when names or shapes are not the trained ones."""
    tensors: dict[str, torch.Tensor] = load_file(path)
    stored = {name: tuple(value.shape) for name, value in tensors.items()}
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise ValueError(f"{path.name} has {name} {stored.get(name)}, the model {wanted.get(name)}")
    return tensors
