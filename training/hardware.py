"""How the machine is used: every setting of `train.hardware` is put into force here, and what is in force is told.

facts = use_hardware(parameters.hardware, system, device)      # before the system is prepared for several processes
check_compiled(parameters.hardware, system, accelerator, probe)  # before the first step, where the denoiser is compiled
"""

import os
import shutil
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stage.errors import ParameterError
from training.attention import use_attention
from training.parameters import HardwareParameters

_COMPILERS = ("g++", "clang++", "c++")


def use_hardware(parameters: HardwareParameters, denoiser: nn.Module, device: torch.device) -> dict[str, object]:
    """Put the settings into force; what is in force by name, as benchmarks and trackers note it.

    Args:
        parameters: what is asked for.
        denoiser: the large network of a system, changed in place; the names of its weights stay.
        device: where it will run.

    Raises:
        ParameterError: when something cannot be had on this machine.
    """
    facts: dict[str, object] = {"device": _device_name(device)}
    facts |= _use_cuda_kernels(parameters) if device.type == "cuda" else {"threads": torch.get_num_threads()}
    facts["attention"] = use_attention(denoiser, parameters.attention)
    if parameters.channels_last:
        denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if parameters.gradient_checkpointing:
        _checkpoint_blocks(denoiser)
    if parameters.compile:
        _compile(denoiser, parameters.compile)
    return {
        **facts,
        "channels_last": parameters.channels_last,
        "gradient_checkpointing": parameters.gradient_checkpointing,
        "compile": parameters.compile or "off",
    }


def cpu_notice(device: torch.device) -> str:
    """One line for people when the training runs where it is slow; empty on a GPU."""
    if device.type == "cuda":
        return ""
    return f"no CUDA GPU: training on the CPU with {torch.get_num_threads()} thread(s)"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _use_cuda_kernels(parameters: HardwareParameters) -> dict[str, object]:
    """Precision and choice of CUDA's kernels; each flag is set, whatever PyTorch's own default is."""
    torch.backends.cuda.matmul.allow_tf32 = parameters.tf32
    torch.backends.cudnn.allow_tf32 = parameters.tf32
    torch.backends.cudnn.deterministic = parameters.deterministic
    torch.backends.cudnn.benchmark = parameters.cudnn_benchmark and not parameters.deterministic
    if parameters.deterministic:
        # cuBLAS asks for it (CUDA's documentation, "cuBLAS results reproducibility").
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(parameters.deterministic)
    return {
        "tf32": parameters.tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": parameters.deterministic,
        "sdpa_kernels": ", ".join(_sdpa_kernels()),
    }


def _sdpa_kernels() -> list[str]:
    """The kernels among which PyTorch's attention chooses by shapes and number format."""
    allowed = {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
    }
    return [name for name, enabled in allowed.items() if enabled]


def _checkpoint_blocks(denoiser: nn.Module) -> None:
    enable = getattr(denoiser, "enable_gradient_checkpointing", None)
    if enable is None:
        raise ParameterError(
            f"train.hardware.gradient_checkpointing: {type(denoiser).__name__} cannot compute its blocks again",
            "set it to false",
        )
    # Diffusers' own asks for PyTorch's version in each block, at which the compiler stumbles.
    enable(partial(checkpoint, use_reentrant=False))


def _compile(denoiser: nn.Module, mode: str) -> None:
    """Compile in place: a wrapper would put `_orig_mod` before the names of all weights."""
    named = os.environ.get("CXX", "")
    if not any(shutil.which(compiler) for compiler in (named, *_COMPILERS) if compiler):
        raise ParameterError(
            f"train.hardware.compile = {mode} needs a C++ compiler, and there is none",
            "install g++, or set it to null",
        )
    # Batches have one size, so that kernels are made for it; another size is compiled anew.
    denoiser.compile(mode=mode, dynamic=False)
