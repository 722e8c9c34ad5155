"""Zero-1-to-3 at 16×16 pixels with random weights, and spies in the place of its denoiser."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from systems.zero123.loss import TrainingBatch
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.parameters import (
    AutoencoderParameters,
    ImageEncoderParameters,
    UNetParameters,
    Zero123Parameters,
)
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.conditioning import pose_dimensions
from systems.zeronvs.pipeline import ZeroNvsPipeline

SIZE = 16


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Zero123Parameters]:
    """Parameters of the smallest sensible system; keywords replace them."""

    def parameters(**changes: Any) -> Zero123Parameters:
        values: dict[str, Any] = {
            "unet": UNetParameters(block_channels=(32, 64)),
            "autoencoder": AutoencoderParameters(factor=4, scaling_factor=0.3),
            "image_encoder": ImageEncoderParameters(
                image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
            ),
        }
        return Zero123Parameters(**(values | changes))

    return parameters


@pytest.fixture
def modules(tiny: Callable[..., Zero123Parameters]) -> Zero123Modules:
    return build_modules(tiny(), 0)


@pytest.fixture(scope="session")
def pipeline_of() -> Callable[[Zero123Modules], Zero123Pipeline]:
    """The quiet pipeline of some modules."""

    def made(modules: Zero123Modules) -> Zero123Pipeline:
        modules.unet.register_to_config(sample_size=SIZE // 4)
        pipeline = Zero123Pipeline(
            modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return made


@pytest.fixture
def pipeline(modules: Zero123Modules, pipeline_of: Callable[..., Zero123Pipeline]) -> Zero123Pipeline:
    return pipeline_of(modules)


@pytest.fixture
def zeronvs_pipeline(tiny: Callable[..., Zero123Parameters]) -> Callable[..., ZeroNvsPipeline]:
    """A quiet ZeroNVS pipeline of a mode."""

    def made(mode: str) -> ZeroNvsPipeline:
        parts = build_modules(tiny(), 0, pose_dimensions(mode))
        parts.unet.register_to_config(sample_size=SIZE // 4)
        pipeline = ZeroNvsPipeline(
            parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler, mode
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return made


class Spy:
    """Stands in for a denoiser's forward pass: remembers what it was given and answers with what it is told.

    Args:
        answer: the prediction of an input; the wrapped denoiser's own when None.
        forward: the wrapped forward pass.
    """

    def __init__(self, forward: Callable[..., Any], answer: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        self._forward, self._answer = forward, answer
        self.inputs: list[Tensor] = []
        self.timesteps: list[Tensor] = []
        self.tokens: list[Tensor] = []

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Any:
        """The prediction."""
        self.inputs.append(sample.detach().clone())
        self.timesteps.append(timestep)
        self.tokens.append(encoder_hidden_states.detach().clone())
        if self._answer is None:
            return self._forward(sample, timestep, encoder_hidden_states=encoder_hidden_states)
        return SimpleNamespace(sample=self._answer(sample, timestep))


@pytest.fixture
def spy_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Spy]:
    """Put a spy in the place of a denoiser's forward pass."""

    def spied(unet: torch.nn.Module, answer: Callable[[Tensor, Tensor], Tensor] | None = None) -> Spy:
        spy = Spy(unet.forward, answer)
        monkeypatch.setattr(unet, "forward", spy)
        return spy

    return spied


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    """Smooth random pictures (n, 3, 16, 16) in [−1, 1]."""

    def drawn(count: int, seed: int = 0) -> Tensor:
        coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        return torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")

    return drawn


@pytest.fixture
def poses() -> Callable[[int], Tensor]:
    """Relative poses (n, 4)."""

    def drawn(count: int) -> Tensor:
        turns = np.linspace(0.3, 2.8, count)
        return torch.tensor(np.stack([0.1 * turns, np.sin(turns), np.cos(turns), -0.2 * turns], axis=1)).float()

    return drawn


@pytest.fixture
def batch(pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]) -> TrainingBatch:
    """Four training pairs."""
    return TrainingBatch(target=pictures(4, seed=1), condition=pictures(4, seed=2), pose=poses(4))


@pytest.fixture(scope="session")
def kl() -> AutoencoderKL:
    """A VAE of two levels with random weights: four channels at half the size."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        scaling_factor=0.18215,
    ).eval()
