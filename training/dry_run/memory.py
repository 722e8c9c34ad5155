"""What a training holds in the memory of one GPU, by what it is.

The sum is a bound from above: gradients and activations are added, which only from the second accumulated batch on are there
together. What no tensor holds is left out (`training.dry_run.trace`); `HEADROOM` is kept for it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from systems.trainable import TrainableSystem
from training.dry_run.trace import Precision
from training.parameters import TrainParameters

Sharding = Literal["none", "ddp", "fsdp"]
# Share of a GPU's memory that is left to the CUDA context, workspaces and the allocator's gaps.
HEADROOM = 0.1
# bitsandbytes: tensors smaller than this keep states of 32 bits; one number of 32 bits scales so many of 8 bits.
_SMALLEST_8BIT, _BLOCK_8BIT = 4096, 256


@dataclass(frozen=True)
class MemorySettings:
    """What decides the memory beside the system itself."""

    precision: Precision = "no"
    checkpointing: bool = False
    """Whether the denoiser computes its activations anew in the backward pass."""
    sharding: Sharding = "none"
    """Copies in every process (`ddp`), or weights, gradients and optimiser states parted among them (`fsdp`)."""
    shards: int = 1
    """Processes among which they are parted."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"


@dataclass(frozen=True)
class GpuMemory:
    """Bytes in one GPU's memory."""

    trained: int
    """Weights that are trained."""
    frozen: int
    """Weights that are not."""
    moving_average: int
    optimizer: int
    """Both moments of AdamW."""
    gradients: int
    exchange: int
    """Buckets in which gradients travel (ddp), or weights from all processes (fsdp): a block's, twice, and those of no block."""
    activations: int
    """Largest number of bytes that the passes hold at once."""
    update: int
    """What the update of the moving average holds for a moment, when the activations are gone."""

    @property
    def total(self) -> int:
        """The largest number of bytes held at once."""
        parts = asdict(self)
        passing = max(parts.pop("activations"), parts.pop("update"))
        return int(sum(parts.values())) + passing


def settings_of(parameters: TrainParameters) -> MemorySettings:
    """The memory settings of a training."""
    launch = parameters.launch
    return MemorySettings(
        precision=launch.mixed_precision,
        checkpointing=parameters.hardware.gradient_checkpointing,
        sharding="fsdp" if launch.sharding == "full" else "ddp" if launch.processes > 1 else "none",
        shards=launch.processes,
        optimizer=parameters.optimizer.kind,
    )


def gpu_memory(system: TrainableSystem, settings: MemorySettings, activations: int) -> GpuMemory:
    """What a system holds.

    Args:
        system: whose parameters count; their values do not.
        settings: of the training.
        activations: as `training.dry_run.trace` finds.
    """
    trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
    frozen = [parameter for parameter in system.parameters() if not parameter.requires_grad]
    parts = settings.shards if settings.sharding == "fsdp" else 1
    weights = _bytes(trained)
    share = -(-weights // parts)
    exchange = {"none": 0, "ddp": weights, "fsdp": 2 * _largest_block(system.denoiser) + _beside_blocks(system)}[
        settings.sharding
    ]
    return GpuMemory(
        trained=share,
        frozen=-(-_bytes(frozen) // parts),
        moving_average=share,
        optimizer=-(-sum(_states(parameter.numel(), settings) for parameter in trained) // parts),
        gradients=share,
        exchange=exchange,
        activations=activations,
        update=share,
    )


def checkpoint_bytes(system: TrainableSystem, settings: MemorySettings) -> int:
    """A checkpoint on the disk: trained weights, their moving average, and the optimiser's states."""
    trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
    return 2 * _bytes(trained) + sum(_states(parameter.numel(), settings) for parameter in trained)


def _states(numbers: int, settings: MemorySettings) -> int:
    """Bytes of AdamW's two moments of one tensor."""
    if settings.optimizer == "adamw_8bit" and numbers >= _SMALLEST_8BIT:
        return 2 * (numbers + 4 * -(-numbers // _BLOCK_8BIT))
    return 2 * 4 * numbers


def _largest_block(denoiser: Any) -> int:  # noqa: ANN401 - diffusers' models
    """Bytes of the largest block, which is what processes bring together at a time."""
    blocks = [*denoiser.down_blocks, denoiser.mid_block, *denoiser.up_blocks]
    return max(_bytes(block.parameters()) for block in blocks)


def _beside_blocks(system: TrainableSystem) -> int:
    """Bytes of everything but the denoiser's lists of blocks, which comes together for a whole pass (`training.processes`)."""
    lists = [child for child in system.denoiser.children() if isinstance(child, nn.ModuleList)]
    return _bytes(system.parameters()) - sum(_bytes(each.parameters()) for each in lists)


def _bytes(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
