"""What the training engine asks of a system: modules whose forward pass is the loss, and the draws that decide a step.

A system is a `torch.nn.Module`; the engine knows no more of it than stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


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

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors."""
