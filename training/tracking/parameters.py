"""Parameters of what a training tells of itself: where figures go, and which pictures are sampled on the way."""

from typing import Literal

from pydantic import Field

from stage.parameters import Parameters

TrackerName = Literal["mlflow", "tensorboard", "wandb"]


class WandbParameters(Parameters):
    """Weights & Biases, for the tracker `wandb`."""

    project: str = "viewforge"
    """Its project."""
    entity: str | None = None
    """The team or user that it belongs to; the account's own when null."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """`offline` writes below scratch/wandb, from where `wandb sync` sends it."""


class TensorboardParameters(Parameters):
    """TensorBoard, for the tracker `tensorboard`."""

    folder: str = "scratch/tensorboard"
    """Where its event files go, relative to the workspace."""


class TrackingParameters(Parameters):
    """Where a training reports, and how patiently."""

    trackers: tuple[TrackerName, ...] = ("mlflow",)
    """Any of mlflow, tensorboard, wandb; none with []. All but mlflow need `pip install 'viewforge[tracking]'`."""
    timestep_buckets: int = Field(default=10, ge=1, le=100)
    """Equal ranges of the diffusion time whose losses are told apart."""
    system_metrics_seconds: float | None = Field(default=10.0, gt=0)
    """Seconds between figures of the machine: processor, memory, disk, network, GPUs; null leaves them out."""
    request_seconds: int = Field(default=20, ge=1)
    """How long MLflow's server may take to answer; training goes on meanwhile."""
    patience_seconds: float = Field(default=30.0, ge=0)
    """How long the end of a training waits for MLflow's server; what it lacks then `viewforge tracking flush` sends."""
    wandb: WandbParameters = WandbParameters()
    """Options of wandb."""
    tensorboard: TensorboardParameters = TensorboardParameters()
    """Options of TensorBoard."""


class SampleParameters(Parameters):
    """Pictures sampled in the course of a training, always of the same pairs, beside input and target."""

    every: int | None = Field(default=500, ge=1)
    """Steps between them, and once at the last step; null samples none. They change no weight."""
    pairs: int = Field(default=4, ge=1)
    """Pairs of views, of as many objects of the split val, or of train where there is no val."""
    inference_steps: int = Field(default=8, ge=1)
    """Steps of the sampler; few, for a glance."""
    guidance_scale: float = Field(default=1.0, ge=0)
    """Classifier-free guidance; 1 does without."""
