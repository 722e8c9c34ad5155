"""How full and how busy the training processes' GPUs are."""

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

_GIB = float(1 << 30)


def gpu_figures(accelerator: Accelerator) -> dict[str, float]:
    """Peak memory since the start in GiB, the most of all processes, and utilisation in percent, their mean.

    Every process has to call it. Empty without CUDA; without NVML (`nvidia-ml-py`) there is no utilisation.
    """
    device = accelerator.device
    if device.type != "cuda":
        return {}
    own = [torch.cuda.max_memory_allocated(device) / _GIB, torch.cuda.max_memory_reserved(device) / _GIB]
    gathered: Float[Tensor, "p 3"] = accelerator.gather(torch.tensor([[*own, _utilisation(device)]], device=device))
    allocated, reserved = gathered[:, :2].amax(dim=0).tolist()
    figures = {"gpu/memory_allocated_peak_gib": allocated, "gpu/memory_reserved_peak_gib": reserved}
    known = gathered[:, 2][gathered[:, 2] >= 0]
    return figures | ({"gpu/utilisation_percent": float(known.mean())} if len(known) else {})


def _utilisation(device: torch.device) -> float:
    """Percent of the last moment in which a kernel ran; −1 where NVML does not say."""
    try:
        return float(torch.cuda.utilization(device))
    except (ModuleNotFoundError, RuntimeError):
        return -1.0
