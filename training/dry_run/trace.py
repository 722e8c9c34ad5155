"""A forward and a backward pass that compute shapes alone, and what they would hold in memory at once.

Every storage is counted from the operation that makes it until the last reference is gone, as PyTorch itself would keep it, also
where gradient checkpointing makes it anew. The passes run as on a CUDA GPU: attention keeps no matrix of weights, and under
autocast normalisations are done in 32 bits. Left out is what no tensor holds: cuDNN's workspaces, the CUDA context (about
half a gigabyte), and the gaps that the allocator leaves.
"""

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from systems.trainable import Views
from training.dry_run.outline import Outline

Precision = Literal["no", "fp16", "bf16"]
_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_NORMALISATIONS = (F.group_norm, F.layer_norm)


@dataclass(frozen=True)
class StepTrace:
    """One forward and backward pass."""

    pairs: int
    activations: int
    """Largest number of bytes held at once beside weights and their gradients."""
    flops: int | None
    """Floating-point operations of convolutions, matrix products and attention, a multiplication with its addition as 2; None
    where they were not counted."""


def traced(
    outline: Outline,
    pairs: int,
    precision: Precision = "no",
    *,
    checkpointing: bool = False,
    counting: bool = False,
) -> StepTrace:
    """Trace the passes over some pairs at once.

    Args:
        outline: of the system.
        pairs: in a forward pass.
        precision: number format, as accelerate's `mixed_precision`.
        checkpointing: whether the denoiser keeps its blocks' inputs alone and computes the rest anew.
        counting: whether operations are counted too, which takes as long again.
    """
    system = outline.system
    size = outline.image_size
    one = system.stand_in(_two_views(size))
    draws = system.draw([0])
    use_checkpointing(system.denoiser, precision, wanted=checkpointing)
    system.train()
    with outline.mode:
        held = HeldBytes(tree_leaves([list(system.parameters()), list(system.buffers())]))
        flops = FlopCounterMode(display=False)
        with AsOnGpu(precision), held, flops if counting else nullcontext():
            batch = _repeated(one, pairs), _repeated(draws, pairs)
            with torch.autocast("cpu", _HALVES.get(precision), enabled=precision != "no"):
                loss = system(*batch).loss
            loss.backward()
        gradients = [parameter.grad for parameter in system.parameters() if parameter.grad is not None]
        activations = held.peak(without=gradients)
        for parameter in system.parameters():
            parameter.grad = None
    return StepTrace(pairs, activations, flops.get_total_flops() if counting else None)


class HeldBytes(TorchDispatchMode):
    """Bytes of the storages that operations make, over time.

    Args:
        known: tensors that were there before, which do not count.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self._living = {_identity(tensor): -1 for tensor in known}
        self._changes: list[tuple[int, int]] = []
        self._made = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - PyTorch's interface
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - likewise
        """Run an operation and count what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and _identity(tensor) not in self._living:
                self._add(tensor)
        return made

    def peak(self, without: Iterable[Tensor] = ()) -> int:
        """Largest number of bytes held at once, apart from those of some tensors that still are."""
        apart = {self._living.get(_identity(tensor)) for tensor in without}
        held = np.cumsum([change for number, change in self._changes if number not in apart], dtype=np.int64)
        return int(held.max(initial=0))

    def _add(self, tensor: Tensor) -> None:
        storage, identity = tensor.untyped_storage(), _identity(tensor)
        number, size = self._made, storage.nbytes()
        self._made += 1
        self._living[identity] = number
        self._changes.append((number, size))
        weakref.finalize(storage, self._forget, identity, number, size)

    def _forget(self, identity: int, number: int, size: int) -> None:
        if self._living.get(identity) == number:
            del self._living[identity]
        self._changes.append((number, -size))


class AsOnGpu(TorchFunctionMode):
    """Attention and autocast as a CUDA GPU does them, for tensors that are said to be on the CPU.

    Args:
        precision: number format, as accelerate's `mixed_precision`.
    """

    def __init__(self, precision: Precision) -> None:
        super().__init__()
        self._half = _HALVES.get(precision)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - PyTorch's interface
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - likewise
        """Call a function, or what stands for it on a GPU."""
        kwargs = kwargs or {}
        lowered = self._half is not None and torch.is_autocast_enabled("cpu")
        if func is F.scaled_dot_product_attention:
            return _fused_attention(self._half if lowered else None, *args, **kwargs)
        if lowered and func in _NORMALISATIONS:
            with torch.autocast("cpu", enabled=False):
                return func(*(_single(value) for value in args), **{k: _single(v) for k, v in kwargs.items()})
        return func(*args, **kwargs)


def _fused_attention(
    half: torch.dtype | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: object,
) -> Tensor:
    """The memory-efficient kernel: it keeps its inputs, its output and a number for each query."""
    query, key, value = (part.to(half) if half else part for part in (query, key, value))
    wanted = query.requires_grad or key.requires_grad or value.requires_grad
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, attn_mask, wanted, dropout_p, is_causal, scale=scale)[0]


def _single(value: Any) -> Any:  # noqa: ANN401 - any argument
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _identity(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _two_views(size: int) -> Views:
    """A target and a condition from above and from the side, of which nothing is to be seen."""
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[:, 0, 2, 3], c2w[:, 1, 0, 3] = 2.0, 2.0
    return Views(
        uids=("nothing",),
        numbers=np.array([[0, 1]]),
        rgba=torch.zeros(1, 2, size, size, 4, dtype=torch.uint8),
        c2w=c2w,
        intrinsics=torch.tensor([size, size, size / 2, size / 2]).expand(1, 2, 4),
        scales=torch.ones(1, 2, 3),
    )


def _repeated(value: Any, pairs: int) -> Any:  # noqa: ANN401 - a system's own types
    """A batch of one, or its draws, for more pairs: tensors of the shapes that they would have, other values as often."""

    def repeated(part: Any) -> Any:  # noqa: ANN401 - of a system's own types
        is_tensor = isinstance(part, Tensor)
        return torch.empty(pairs, *part.shape[1:], dtype=part.dtype) if is_tensor else part * pairs

    return dataclasses.replace(
        value, **{field.name: repeated(getattr(value, field.name)) for field in dataclasses.fields(value)}
    )


def use_checkpointing(denoiser: Any, precision: Precision, *, wanted: bool) -> None:  # noqa: ANN401 - diffusers' models
    """Have a denoiser, which is traced under `AsOnGpu`, keep its blocks' inputs alone, or everything."""

    def contexts() -> tuple[AbstractContextManager[None], AsOnGpu]:
        # A mode of functions is left for as long as the backward pass takes, which is when blocks are computed again.
        return nullcontext(), AsOnGpu(precision)

    def again(module: nn.Module, *arguments: object) -> object:
        return checkpoint(module, *arguments, use_reentrant=False, context_fn=contexts)

    denoiser.disable_gradient_checkpointing()
    if wanted:
        denoiser.enable_gradient_checkpointing(again)
