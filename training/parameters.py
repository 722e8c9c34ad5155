"""Parameters of the `train` stage: which system, how long, how fast, and how it is launched."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from geometry.scene_scales import ScaleName
from stage.errors import ParameterError
from stage.parameters import Parameters, load_section
from stage.workspace import Workspace
from systems.cascade_zero123.parameters import CascadeParameters
from systems.zero123.parameters import Zero123Parameters
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zeronvs.modes import scale_name
from systems.zeronvs.parameters import ZeroNvsParameters
from training.data.dataset_parameters import DataParameters
from training.data.published_mixture import with_published
from training.launching.parameters import SlurmParameters
from training.tracking.parameters import SampleParameters, TrackingParameters

SystemName: TypeAlias = Literal["zero123", "zeronvs", "cascade_zero123", "zero_1_to_g", "zero_1_to_g_grid"]
"""The systems that are trained, by the names of their rooms."""


class PlateauParameters(Parameters):
    """When the schedule `plateau` lowers the learning rate; one observation is the mean loss of some steps."""

    window: int = Field(default=100, ge=1)
    """Steps whose mean loss is one observation: single steps differ by their timesteps more than by what was learnt."""
    patience: int = Field(default=10, ge=0)
    """Observations without an improvement that are let pass."""
    threshold: float = Field(default=1e-3, ge=0, lt=1)
    """An improvement is a loss below (1 − threshold) times the best."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is then multiplied by."""


class OptimizerParameters(Parameters):
    """AdamW and its schedule."""

    kind: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps its two moments in 8 bits: a quarter of their memory, on CUDA alone, with the extra `bitsandbytes`."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; published: 1e-4."""
    factors: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Learning rates of groups of parameters over `learning_rate`, by the group's name. A group that is not named here has its
    system's own factor: Zero-1-to-3's `cc_projection` the published 10, everything else 1."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay; published: 1e-2."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Adam's decay rates."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of Adam's second moment; published: 1e-8."""
    fused: Literal["auto"] | bool = "auto"
    """Whether a step is one kernel; `auto` is on CUDA. On the CPU it rounds otherwise than the step that is not fused."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps of linear warm-up; published: 100."""
    warmup_from: float | None = Field(default=None, ge=0, le=1)
    """Share of the peak at the first step; one over `warmup_steps` when null. Published: 1e-6."""
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "cosine"
    """Learning rate after the warm-up; published: constant. `linear` and `cosine` reach `floor` at the run's end."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the peak below which no schedule goes after the warm-up."""
    plateau: PlateauParameters = PlateauParameters()
    """Settings of the schedule `plateau`."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm; null, as published, leaves them as they are."""


class HardwareParameters(Parameters):
    """How the machine is used: what saves time or memory and changes no more than digits (docs/training-hardware.md)."""

    attention: Literal["auto", "sdpa", "xformers"] = "auto"
    """Attention backend; `auto` takes xformers on a GPU where it loads."""
    tf32: bool = True
    """On CUDA, float32 products and convolutions with 10 bits of mantissa; zero123-hf leaves products at 23."""
    cudnn_benchmark: bool = True
    """On CUDA, time convolution kernels at the first step and keep the fastest, which may be another one in another run."""
    deterministic: bool = False
    """On CUDA, only kernels that give the same bits each time; an error where there is none. Overrules `cudnn_benchmark`."""
    channels_last: bool = False
    """Lay four-dimensional weights out with their channels last, as tensor cores read them."""
    gradient_checkpointing: bool = False
    """Keep a block's input alone and compute the block again in the backward pass: less memory, about a third more time."""
    compile: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = None
    """Mode of `torch.compile` for the denoiser; null runs it as written. Before the first step loss and gradients of both are
    compared."""
    compile_tolerance: float = Field(default=0.05, gt=0)
    """Relative difference of loss and gradients that ends a compiled training before its first step."""


class LaunchParameters(Parameters):
    """Where the processes of a training run, and what is done when one of them ends or falls silent (docs/launching.md)."""

    processes: int = Field(default=1, ge=1)
    """Processes, one a GPU, over all machines."""
    machines: int = Field(default=1, ge=1)
    """Machines that take part; each runs `viewforge train` in the same workspace, on a disk that they share. With
    `slurm` these are its nodes."""
    machine_rank: int | None = Field(default=None, ge=0)
    """This machine's number, from 0; null takes it from the environment (docs/training.md)."""
    main_address: str | None = None
    """Address of machine 0; null takes it from the environment."""
    main_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of machine 0 at which the others find it; null takes it from the environment, or else 29500."""
    sharding: Literal["none", "full"] = "none"
    """`none`: each process holds the whole model (DDP). `full`: each holds a part of weights, gradients and optimiser (FSDP)."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of the forward pass."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up to one step."""
    grace_seconds: float = Field(default=30.0, gt=0)
    """Time that a training which is asked to stop has for its checkpoint; as long as the scheduler waits before it kills."""
    silence_seconds: float = Field(default=40.0, ge=1)
    """A process that gives no sign of life for so long counts as dead, stopped or cut off, and all are ended. Three times
    that while it starts."""
    stuck_seconds: float = Field(default=300.0, ge=1)
    """A step that computes for longer than this, and than 20 times the slowest before, counts as hung; reading does not count."""
    restarts: int = Field(default=2, ge=0)
    """How often in a row, without a new checkpoint in between, a training goes on from its last checkpoint after a process was
    killed, fell silent or lost the others."""
    slurm: SlurmParameters | None = None
    """The job of Slurm in which the processes run; null starts them on this machine."""

    @model_validator(mode="after")
    def _nodes_share_the_processes(self) -> Self:
        if self.slurm is None:
            return self
        if self.processes % self.slurm.nodes:
            raise ParameterError(
                f"train.launch.processes = {self.processes} cannot be shared by slurm.nodes = {self.slurm.nodes}",
                "make it a multiple: the processes of all nodes together",
            )
        if self.machines not in (1, self.slurm.nodes):
            raise ParameterError(
                f"train.launch.machines = {self.machines} beside slurm.nodes = {self.slurm.nodes}",
                "leave machines out where Slurm starts them",
            )
        return self


class GuardParameters(Parameters):
    """Steps whose loss or gradient is not finite are left out; too many of them end the run."""

    max_skipped_in_a_row: int = Field(default=5, ge=0)
    """Steps in a row that may be left out; 0 ends the run at the first."""
    max_skipped_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps so far that may be left out, where that is more than `max_skipped_in_a_row`."""


class TrainParameters(Parameters):
    """One training run."""

    system: SystemName = "zero123"
    """The system to train; of the sections named like a system its own alone counts."""
    zero123: Zero123Parameters = Zero123Parameters()
    """Zero-1-to-3's modules and diffusion."""
    zeronvs: ZeroNvsParameters = ZeroNvsParameters()
    """ZeroNVS' modules, diffusion and conditioning."""
    cascade_zero123: CascadeParameters = CascadeParameters()
    """Cascade-Zero123's modules, diffusion and prompts."""
    zero_1_to_g: Zero1ToGParameters = Zero1ToGParameters()
    """Zero-1-to-G's stage, modules, diffusion and losses."""
    zero_1_to_g_grid: Zero1ToGGridParameters = Zero1ToGGridParameters()
    """The same of its first generation, that of the published README."""
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
    hardware: HardwareParameters = HardwareParameters()
    """Precision, memory, compilation and attention."""
    launch: LaunchParameters = LaunchParameters()
    """Processes, precision, accumulation."""
    guard: GuardParameters = GuardParameters()
    """What is done about steps that cannot be taken."""
    samples: SampleParameters = SampleParameters()
    """Pictures sampled in the course of the training."""
    tracking: TrackingParameters = TrackingParameters()
    """Where figures and pictures go."""

    @model_validator(mode="after")
    def _base_knows_something(self) -> Self:
        cascade = self.cascade_zero123
        if self.system == "cascade_zero123" and cascade.base == "fixed" and not cascade.pretrained:
            raise ParameterError(
                "train.cascade_zero123.base: fixed keeps a Base-0123 that has learnt nothing",
                "name a Zero-1-to-3 pipeline folder in pretrained, or set base to refreshed",
            )
        return self

    @property
    def chosen(self) -> Zero123Parameters | Zero1ToGParameters | Zero1ToGGridParameters:
        """The section of the system that is trained."""
        section: Zero123Parameters | Zero1ToGParameters | Zero1ToGGridParameters = getattr(self, self.system)
        return section

    @property
    def splatters(self) -> bool:
        """Whether the system learns from splatter images."""
        if self.system == "zero_1_to_g_grid":
            return self.zero_1_to_g_grid.loss.lambda_splatter > 0
        return self.system == "zero_1_to_g"

    @property
    def scale(self) -> ScaleName | None:
        """Which measured scale of scenes the system needs: what ZeroNVS' mode divides translations by."""
        return scale_name(self.zeronvs.mode) if self.system == "zeronvs" else None


def load_training(workspace: Workspace) -> TrainParameters:
    """The section `train` of a workspace's parameters, with the sets of a published mixture where it names one.

    Raises:
        InputError: when a file is missing or holds something else.
        ParameterError: when a value is unknown or impossible.
    """
    parameters = load_section(workspace.parameters, "train", TrainParameters)
    return parameters.model_copy(update={"data": with_published(parameters.data, workspace.root)})
