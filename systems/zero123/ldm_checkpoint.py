"""Reading a checkpoint file of somebody else's without running anything that it brings along.

A `.ckpt` is a pickle, and unpickling runs what it says. Torch's own restricted reader (`weights_only`) runs nothing but the
rebuilding of tensors; what it does not know it refuses. Lightning's bookkeeping in the published files is such: its classes are
replaced by an inert placeholder, which drops whatever it is given (docs/decisions/0020-checkpoints-of-strangers.md).
"""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stage.errors import InputError

# Bookkeeping of training that published checkpoints are known to carry; no weight is made of it.
BOOKKEEPING = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "omegaconf.",
    "torchmetrics.",
    "numpy.",
    "typing.",
)
# What no file of weights has a use for, but an attack has.
_HOSTILE = frozenset(
    {"builtins", "ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys"}
)
_POINTER = b"version https://git-lfs.github.com/spec/"
# Of an archive and of a pickle.
_STARTS = (b"PK", b"\x80")
_REMEDY = "fetch it again, whole"


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a checkpoint file.

    Args:
        weights: by the names in the file; mapped from the disk, not read, where the format allows it.
        step: optimiser steps that it was trained for, where it says.
        passed_over: classes that the file names and that were read past.
    """

    weights: dict[str, Tensor]
    step: int | None
    passed_over: tuple[str, ...]


class Placeholder:
    """Stands in for a class that a file names: takes anything, keeps nothing, does nothing."""

    def __new__(cls, *_: object, **__: object) -> "Placeholder":
        """Whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Whatever it is to hold."""


def _empty_mapping(*_: object) -> dict[Any, Any]:
    """Stands in for a mapping that is made by a call and then filled."""
    return {}


# The reader fills plain mappings alone, and omegaconf notes which plain types its values have.
_HARMLESS: dict[str, Any] = {
    **{f"builtins.{plain.__name__}": plain for plain in (bool, bytes, dict, float, int, list, set, str, tuple)},
    "collections.defaultdict": _empty_mapping,
    "pytorch_lightning.utilities.parsing.AttributeDict": dict,
}


def read_checkpoint(path: Path, ignored: Iterable[str] = ()) -> Checkpoint:
    """The weights of a `.ckpt`, `.pth`, `.bin` or `.safetensors` file.

    Args:
        path: the file.
        ignored: further classes to read past, by their full names in the file.

    Raises:
        InputError: when the file is missing, damaged, a Git LFS pointer, no checkpoint, or names classes that are neither
            torch's, nor bookkeeping, nor in `ignored`.
    """
    _refuse_what_is_no_file(path)
    if path.suffix == ".safetensors":
        return Checkpoint(_read_safetensors(path), None, ())
    found = unsafe_classes(path) - _HARMLESS.keys()
    _refuse_strangers(path, found, frozenset(ignored))
    return _checkpoint(path, _unpickled(path, found), tuple(sorted(found)))


def unsafe_classes(path: Path) -> frozenset[str]:
    """Full names of the classes and functions that a file's pickle names and that torch does not know as harmless.

    Found without unpickling. Empty for files from before torch 1.6, which are no archives; torch's reader refuses theirs itself.

    Raises:
        InputError: when the file is damaged.
    """
    if not zipfile.is_zipfile(path):
        return frozenset()
    try:
        return frozenset(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}", _REMEDY) from None


def _refuse_what_is_no_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"no checkpoint {path}", "give the path of a .ckpt or .safetensors file")
    with path.open("rb") as stream:
        start = stream.read(len(_POINTER))
    if start == _POINTER:
        raise InputError(
            f"{path} is a Git LFS pointer, which says where the weights are, not the weights",
            "run git lfs pull there, or viewforge weights download",
        )
    if path.suffix != ".safetensors" and not start.startswith(_STARTS):
        raise InputError(f"{path} is no checkpoint but begins with {start[:16]!r}", _REMEDY)


def _refuse_strangers(path: Path, found: Iterable[str], ignored: frozenset[str]) -> None:
    """Refuse classes that are no bookkeeping; what an attack would name cannot even be ignored."""
    hostile = sorted(name for name in found if name.partition(".")[0] in _HOSTILE)
    if hostile:
        raise InputError(
            f"{path} names {', '.join(hostile)}, which no weights need and an attack does",
            "it was not run; do not trust this file, take a .safetensors of these weights",
        )
    strangers = sorted(name for name in found if not name.startswith(BOOKKEEPING) and name not in ignored)
    if strangers:
        options = " ".join(f"--ignore-class {name}" for name in strangers)
        raise InputError(
            f"{path} names {', '.join(strangers)}, and to load a class that a file names is to run its code",
            f"take a .safetensors of these weights, or read past it unrun with {options}",
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}", _REMEDY) from None


def _unpickled(path: Path, placeholders: Iterable[str]) -> Any:  # noqa: ANN401 - whatever is in the file
    """What torch's restricted reader makes of a file, with placeholders for the classes named."""
    replaced: list[Any] = [(Placeholder, name) for name in placeholders]
    replaced += [(stand_in, name) for name, stand_in in _HARMLESS.items()]
    try:
        with torch.serialization.safe_globals(replaced):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused by torch's restricted reader: {_reason(error)}",
            "take a .safetensors of these weights; a file that needs its own code run is not read",
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}", _REMEDY) from None


def _checkpoint(path: Path, content: Any, passed_over: tuple[str, ...]) -> Checkpoint:  # noqa: ANN401
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__} and no weights by name", "give a checkpoint file")
    weights = content.get("state_dict", content)
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"{path} holds no weights", "give a checkpoint with a state_dict")
    strange = [str(name) for name, value in weights.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(
            f"{path} holds no tensor under {strange[0]} (and {len(strange) - 1} more)", "give a checkpoint of weights"
        )
    step = content.get("global_step")
    return Checkpoint(dict(weights), step if isinstance(step, int) else None, passed_over)


def _reason(error: Exception) -> str:
    """The part of torch's advice that says what was refused."""
    _, marked, named = str(error).partition("WeightsUnpickler error:")
    advice = [line.strip() for line in (named or str(error)).splitlines() if line.strip()]
    reason = (advice if marked else advice[1:]) or [type(error).__name__]
    return re.split(r"\. Please use| was not an allowed", reason[0])[0].rstrip(".")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
