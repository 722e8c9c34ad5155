"""What the training engine asks of a system: modules whose forward pass is the loss, and the draws that decide a step.

A system is a `torch.nn.Module`; the engine knows no more of it than stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor, nn


@dataclass(frozen=True)
class SplatterImages:
    """The splatter images of several samples, as many of each."""

    channels: Float16[Tensor, "b s 14 y x"]
    """Those of `geometry.splatter_tensor.CHANNELS`, in the scene's frame."""
    c2w: Float[Tensor, "b s 4 4"]
    """Cameras that their pixels are those of, OpenGL axes."""
    intrinsics: Float[Tensor, "b s 4"]
    """fx, fy, cx, cy in their pixels."""


@dataclass(frozen=True)
class Views:
    """Views of several samples, as many of each."""

    uids: tuple[str, ...]
    """Of the objects or scenes."""
    numbers: Int[np.ndarray, "b v"]
    """Of the views in their object."""
    rgba: UInt8[Tensor, "b v h w 4"]
    """sRGB pictures with straight alpha."""
    c2w: Float[Tensor, "b v 4 4"]
    """Cameras, OpenGL axes."""
    intrinsics: Float[Tensor, "b v 4"]
    """fx, fy, cx, cy in pixels of these pictures."""
    scales: Float[Tensor, "b v 3"]
    """`scene_radius`, `nearplane_quantile` and `depth_quantile` of each view in scene units; NaN where nobody knows."""
    splatters: SplatterImages | None = None
    """For systems that learn from them; their channels on the device of the pictures."""
    epoch: int = 0
    """Passes through the data before the one that they belong to."""


@dataclass(frozen=True)
class StepLoss:
    """The outcome of a forward pass."""

    loss: Float[Tensor, ""]
    """What is descended: the mean over the batch."""
    errors: Float[Tensor, " b"]
    """Each sample's own loss, without a gradient."""
    timesteps: Int[Tensor, " b"]
    """The diffusion time of each sample, in [0, `timesteps_total`)."""


class Movable(Protocol):
    """Tensors that belong together."""

    def to(self, device: torch.device) -> "Movable":
        """The same on a device."""


class Stateful(Protocol):
    """What goes on after a kill from where it was."""

    def state_dict(self) -> dict[str, Any]:
        """Its state: tensors, numbers, text, and lists, tuples and dictionaries of these."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:  # noqa: ANN401 - torch's own return something
        """Take over a state."""


class TrainableSystem(nn.Module, ABC):
    """A system as the engine sees it: its trained and its frozen modules."""

    @property
    @abstractmethod
    def timesteps_total(self) -> int:
        """T of the diffusion."""

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The large network: what is compiled, checkpointed by blocks and told its attention backend."""

    @abstractmethod
    def forward(self, batch: Any, draws: Any) -> StepLoss:  # noqa: ANN401 - a system's own types
        """The loss of a batch under its draws."""

    @abstractmethod
    def batch(self, views: Views) -> Any:  # noqa: ANN401 - likewise
        """A batch from views, the condition last, on the device of the pictures."""

    def stand_in(self, views: Views) -> Any:  # noqa: ANN401 - likewise
        """A batch of the shapes that `batch` gives, without sampling: for whoever measures or compares, and learns nothing."""
        return self.batch(views)

    @abstractmethod
    def draw(self, seeds: Sequence[int]) -> Movable:
        """The random numbers of a batch, one seed a sample, on the CPU."""

    @abstractmethod
    def predict(
        self,
        batch: Any,  # noqa: ANN401 - a system's own type
        seeds: Sequence[int],
        steps: int,
        guidance_scale: float,
    ) -> Float[Tensor, "b 3 h w"]:
        """Sample the targets of a batch from their conditions: pictures in [0, 1], on the CPU.

        Args:
            batch: what `batch` made.
            seeds: of the noise; the same ones give the same pictures of the same batch.
            steps: of the sampler.
            guidance_scale: classifier-free guidance; 1 does without.
        """

    @abstractmethod
    def parameter_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Every trained parameter once, under the name of its group; learning-rate factors go by these names."""

    def learning_rate_factors(self) -> Mapping[str, float]:
        """The published learning rate of a group over the others'; 1 for groups that are not named."""
        return {}

    def keep_in(self, folder: Path) -> None:
        """Learn where to keep what would take long to make again; told before a training, and not at all where none follows.

        Args:
            folder: shared by all processes of a training and by later ones; may be deleted at any time.
        """

    def look_ahead(self, step: int) -> int:  # noqa: ARG002 - of those that do
        """How many batches, that of a step counted from 0 and those that follow, it wants to `prepare`; 1 for no look ahead."""
        return 1

    def prepare(self, batches: Sequence[Views]) -> None:
        """Make ready for the batches of the coming steps, whose pictures are on the CPU; the first comes next."""

    def stepped(self, steps: int, averages: Callable[[], Mapping[str, Tensor]]) -> None:
        """Hear that a step was taken or left out; in all processes, before the moving average takes the weights in.

        Args:
            steps: steps of the run so far.
            averages: the moving average of the trained weights by their names, whole and on the CPU, as it was before this
                step, and until it goes on; all processes have to call it, or none.
        """

    def states(self) -> Mapping[str, Stateful]:
        """What a checkpoint holds of it by name, beside trained weights and their averages."""
        return {}

    def whole_modules(self) -> Sequence[nn.Module]:
        """Modules without trained weights that compute outside the forward pass, where split weights do not come together."""
        return ()

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors."""
