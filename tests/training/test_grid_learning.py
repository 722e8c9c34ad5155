"""Zero-1-to-G's first generation learns: its decoder two objects, its denoiser their codes."""

import numpy as np
import pytest
import torch
from grid_engine_support import SYSTEM
from jaxtyping import Float
from torch import Tensor

from geometry.picture_metrics import psnr
from systems.zero_1_to_g.grid.batch import GridBatch
from systems.zero_1_to_g.grid.codes import encoded
from systems.zero_1_to_g.grid.loss import rendered_views
from systems.zero_1_to_g.grid.modules import build_modules
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining
from tests.grid_boxes import Box, grid_views

SIZE, UNSEEN, AZIMUTH = 16, 8, 40.0
TALL = Box(
    np.array([0.16, 0.38, 0.42]),
    np.array([[9, 1, 1], [9, 6, 1], [1, 1, 8], [1, 6, 9], [8, 8, 1], [5, 1, 5]]) / 10,
)
FLAT = Box(
    np.array([0.42, 0.30, 0.14]),
    np.array([[1, 7, 2], [1, 3, 1], [2, 8, 8], [9, 9, 9], [1, 2, 3], [6, 4, 2]]) / 10,
)


def system(**changes: object) -> Zero1ToGGridTraining:
    sizes = {"mix_diffusion_interval": None, "decoder": {"block_channels": [32, 64], "splatter_size": SIZE}}
    parameters = Zero1ToGGridParameters.model_validate({**SYSTEM, **sizes, **changes})
    return Zero1ToGGridTraining(parameters, 0, SIZE, build_modules(parameters, 0))


def mean_psnr(made: Float[Tensor, "v b 3 h w"], truth: Float[Tensor, "v b 3 h w"]) -> float:
    """Mean over cameras and objects, dB."""
    pairs = zip(made.flatten(0, 1).numpy(), truth.flatten(0, 1).numpy(), strict=True)
    return float(np.mean([psnr(one, other) for one, other in pairs]))


def renderings(splatters: Float[Tensor, "b 6 14 y x"], batch: GridBatch) -> Float[Tensor, "v b 3 h w"]:
    return torch.stack([rendered_views(splatters, batch, view) for view in range(UNSEEN)])


def descend(training: Zero1ToGGridTraining, batches: list[GridBatch], steps: int, rate: float) -> list[float]:
    """AdamW with the published betas and bound of the gradient, the rate along a line to 0; the losses."""
    ((_, trained),) = training.parameter_groups().items()
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.95))
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20) * (1 - step / steps)
        optimizer.zero_grad()
        outcome = training(batches[step % len(batches)], training.draw([2 * step, 2 * step + 1]))
        outcome.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
    return losses


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_decoder_learns_two_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """From cameras that supervised nothing: 2 dB and more over the mean of both objects' pictures, 6 over its start."""
    training = system()
    batches = [training.batch(grid_views([TALL, FLAT], SIZE, SIZE, 3, AZIMUTH, seed)) for seed in range(12)]
    unseen = training.batch(grid_views([TALL, FLAT], SIZE, SIZE, UNSEEN, AZIMUTH, seed=99))
    truth = (unseen.rgba[..., :3] * unseen.rgba[..., 3:] + 1 - unseen.rgba[..., 3:]).permute(1, 0, 4, 2, 3)

    @torch.no_grad()
    def decoded() -> float:
        return mean_psnr(renderings(training.splatter_decoder(encoded(training.vae, unseen.pictures)), unseen), truth)

    assert unseen.splatters is not None
    closed_form = mean_psnr(renderings(unseen.splatters, unseen), truth)
    mean = mean_psnr(truth.mean(1, keepdim=True).expand_as(truth), truth)
    before = decoded()
    descend(training, batches, steps=300, rate=2e-3)
    after = decoded()
    with capsys.disabled():
        print(
            f"\nPSNR, dB: start {before:.2f}, mean object {mean:.2f}, trained {after:.2f}; closed form {closed_form:.2f}"
        )
    assert after >= mean + 2.0
    assert after >= before + 6.0


@pytest.mark.slow
def test_the_denoiser_learns_their_codes() -> None:
    """Its error at random timesteps falls to less than half."""
    training = system(stage="unet", loss={"lambda_splatter": 0.0, "lambda_rendering": 0.0})
    losses = descend(training, [training.batch(grid_views([TALL, FLAT], SIZE, SIZE, 1, AZIMUTH))], 150, rate=3e-3)
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])
