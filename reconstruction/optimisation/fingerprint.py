"""What a run's field follows from, in names and digests, so that a checkpoint of another is told from one to go on from."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_SHORTENED = 12


def digest(*tensors: Tensor) -> str:
    """Of types, shapes and values, the same on every device."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        # NumPy has no bfloat16, but bytes.
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def weights_digest(modules: Mapping[str, nn.Module]) -> str:
    """Of all parameters and persistent buffers of modules, whatever order they are in."""
    found = hashlib.sha256()
    for name, module in sorted(modules.items()):
        for key, tensor in sorted(module.state_dict().items()):
            found.update(f"{name}.{key} {digest(tensor)} ".encode())
    return found.hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, as `sjc.learning_rate 0.05, now 0.1`; nested names joined by dots."""
    return [
        f"{name} {_short(was)}, now {_short(now)}"
        for name, was, now in _pairs(dict(_flat(old)), dict(_flat(new)))
        if was != now
    ]


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    return ((name, old.get(name), new.get(name)) for name in {**old, **new})


def _flat(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _short(value: Any) -> str:  # noqa: ANN401 - of any fingerprint
    text = str(value)
    return text[:_SHORTENED] if isinstance(value, str) else text
