"""The GPUs of this machine, and what the makers say of theirs."""

from dataclasses import dataclass

import torch

from training.dry_run.trace import Precision

# Dense peak of 16-bit tensor cores with 32-bit sums, FLOP/s: NVIDIA's data sheets of each. The longest name that fits counts.
_PEAKS = {
    "A10": 125e12,
    "A100": 312e12,
    "A40": 149.7e12,
    "B200": 2250e12,
    "H100": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H200": 989e12,
    "L4": 121e12,
    "L40S": 362e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "RTX A6000": 154.8e12,
    "T4": 65e12,
    "V100": 125e12,
}


@dataclass(frozen=True)
class Device:
    """What a training would run on here."""

    name: str
    count: int
    memory: int | None = None
    """Bytes of one GPU; None for the CPU."""


def device_here() -> Device:
    """The GPUs of this machine, or its CPU; nothing is allocated on them."""
    if not torch.cuda.is_available():
        return Device("CPU", 0)
    properties = torch.cuda.get_device_properties(0)
    return Device(properties.name, torch.cuda.device_count(), properties.total_memory)


def peak_flops(name: str, precision: Precision) -> float | None:
    """Floating-point operations a second of a GPU in 16 bits; None where no figure is known.

    Args:
        name: as CUDA says it, such as `NVIDIA A100-SXM4-80GB`.
        precision: of 32 bits there is none, which depends on TF32.
    """
    words = name.replace("-", " ").split()
    known = [key for key in _PEAKS if _within(key.split(), words)]
    return _PEAKS[max(known, key=len)] if known and precision != "no" else None


def _within(some: list[str], words: list[str]) -> bool:
    return any(words[start : start + len(some)] == some for start in range(len(words)))
