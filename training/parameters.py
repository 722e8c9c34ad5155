"""Parameters of the `train` stage: which system, how long, how fast, and how it is launched."""

from typing import Literal

from pydantic import Field

from stage.parameters import Parameters
from systems.zero123.parameters import Zero123Parameters
from training.data.dataset_parameters import DataParameters
from training.tracking_parameters import SampleParameters, TrackingParameters


class OptimizerParameters(Parameters):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; published: 1e-4."""
    cc_projection_factor: float = Field(default=10.0, gt=0)
    """The learning rate of `cc_projection` is this many times the others'; published: 10."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay; published: 1e-2."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps of linear warm-up; published: 100."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up; published: constant."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""


class LaunchParameters(Parameters):
    """What `accelerate launch` is told."""

    processes: int = Field(default=1, ge=1)
    """Processes, one a GPU."""
    machines: int = Field(default=1, ge=1)
    """Machines that take part."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of the forward pass."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up to one step."""


class TrainParameters(Parameters):
    """One training run."""

    system: Literal["zero123"] = "zero123"
    """The system to train."""
    zero123: Zero123Parameters = Zero123Parameters()
    """Zero-1-to-3's modules and diffusion."""
    data: DataParameters = DataParameters()
    """The shard sets that are trained on, and how they are read."""
    steps: int = Field(default=400, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1)
    """Pairs per step over all processes; published: 1536."""
    optimizer: OptimizerParameters = OptimizerParameters()
    """AdamW and its schedule."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the weights' moving average, which is what is saved; published: 0.9999. Warm-up min(decay, (1+n)/(10+n))."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between checkpoints."""
    checkpoints_kept: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    log_every: int = Field(default=10, ge=1)
    """Steps between logged figures."""
    attention: Literal["auto", "sdpa", "xformers"] = "auto"
    """Attention backend; `auto` takes xformers on a GPU where it loads."""
    launch: LaunchParameters = LaunchParameters()
    """Processes, precision, accumulation."""
    samples: SampleParameters = SampleParameters()
    """Pictures sampled in the course of the training."""
    tracking: TrackingParameters = TrackingParameters()
    """Where figures and pictures go."""
