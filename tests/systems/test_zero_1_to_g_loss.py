"""Zero-1-to-G's loss: what is drawn, what is dropped, and the numbers that come out."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from attribute_diffusion_support import SIDE, system, views
from torch import Tensor, nn

from geometry.attribute_images import ATTRIBUTES, ZERO_1_TO_G
from systems.zero_1_to_g.batch import Zero1ToGBatch, batch_from_views
from systems.zero_1_to_g.denoising import condition_latent
from systems.zero_1_to_g.loss import Draws, LossSettings, training_loss
from systems.zero_1_to_g.modules import Zero1ToGModules

PLAIN = LossSettings(dropout=0.0, snr_gamma=None)


class Silence(nn.Module):
    """A denoiser that predicts zero, and keeps what it was told."""

    def forward(self, sample: Tensor, timestep: Tensor, token: Tensor, embedding: Tensor) -> Any:  # noqa: D102
        self.told = (sample, timestep, token, embedding)
        channels = sample.shape[3] // 2
        return type("Output", (), {"sample": torch.zeros_like(sample[:, :, :, :channels])})


def silent(**changes: Any) -> tuple[Zero1ToGModules, Silence]:
    """The smallest system with that denoiser."""
    unet = Silence()
    return replace(system(**changes).system, unet=unet), unet  # type: ignore[arg-type]


@pytest.fixture
def batch() -> Zero1ToGBatch:
    """Two objects."""
    return batch_from_views(views(), ZERO_1_TO_G)


def test_a_sample_draws_the_same_alone_and_among_others() -> None:
    for stage in ("attributes", "joint"):
        drawing = system(stage=stage).drawing
        together, alone = drawing.draw([5, 6, 7]), drawing.draw([6])
        for name, value in vars(alone).items():
            assert torch.equal(getattr(together, name)[1:2], value), name


def test_attributes_are_drawn_one_by_one_or_all_together() -> None:
    alone = system(stage="attributes").drawing.draw(range(64))
    assert alone.attributes.shape == alone.timesteps.shape == (64, 1)
    assert set(alone.attributes.flatten().tolist()) == set(range(5))
    joint = system(stage="joint").drawing.draw(range(8))
    assert joint.attributes.tolist() == [list(range(len(ATTRIBUTES)))] * 8
    assert joint.noise.shape == (8, 2, 5, 12, SIDE // 2, SIDE // 2)
    assert (joint.timesteps == joint.timesteps[:, :1]).all()
    loose = system(stage="joint", synchronised_timesteps=False).drawing.draw(range(8))
    assert all(len(set(row)) > 1 for row in loose.timesteps.tolist())
    assert len(set(joint.timesteps[:, 0].tolist())) > 1


def test_the_loss_is_the_weighed_square_of_what_is_missing(batch: Zero1ToGBatch) -> None:
    modules, _ = silent()
    draws = system().drawing.draw([1, 2])
    draws = replace(draws, timesteps=torch.tensor([[0] * 5, [900] * 5]))
    # The stand-in's latents are the picture minus white, times its scaling factor 0.5: their squares by hand.
    squares = ((batch.attributes - 1.0) * 0.5).square().mean(dim=(1, 2, 3, 4, 5))
    outcome = training_loss(modules, batch, draws, PLAIN)
    torch.testing.assert_close(outcome.errors, squares)
    assert float(outcome.loss) == pytest.approx(float(squares.mean()))
    assert outcome.timesteps.tolist() == [0, 900]
    alpha = modules.scheduler.alphas_cumprod[[0, 900]]
    weighed = training_loss(modules, batch, draws, LossSettings(0.0, 5.0))
    torch.testing.assert_close(weighed.errors, squares * (alpha / (1 - alpha)).clamp(max=5.0))


def test_velocities_are_learnt_too(batch: Zero1ToGBatch) -> None:
    modules, _ = silent(prediction_type="v_prediction")
    draws = replace(system().drawing.draw([1, 2]), timesteps=torch.full((2, 5), 400))
    latents = torch.nn.functional.pixel_unshuffle((batch.attributes.flatten(0, 2) - 1.0) * 0.5, 2)
    alpha = modules.scheduler.alphas_cumprod[400]
    goal = alpha.sqrt() * draws.noise.flatten(0, 2) - (1 - alpha).sqrt() * latents
    outcome = training_loss(modules, batch, draws, PLAIN)
    torch.testing.assert_close(outcome.errors, goal.square().view(2, -1).mean(1))


def test_only_the_drawn_attribute_counts(batch: Zero1ToGBatch) -> None:
    modules, unet = silent()
    drawing = system(stage="attributes").drawing
    draws = replace(drawing.draw([1, 2]), attributes=torch.tensor([[1], [4]]))
    before = training_loss(modules, batch, draws, PLAIN).errors
    others = batch.attributes.clone()
    others[0, :, [0, 2, 3, 4]], others[1, :, :4] = 0.7, -0.7
    assert torch.equal(training_loss(modules, replace(batch, attributes=others), draws, PLAIN).errors, before)
    others[0, :, 1] = 0.5
    changed = training_loss(modules, replace(batch, attributes=others), draws, PLAIN).errors
    assert changed[0] != before[0]
    assert changed[1] == before[1]
    sample, timestep, _, embedding = unet.told
    assert sample.shape == (2, 2, 1, 24, SIDE // 2, SIDE // 2)
    assert timestep.expand(2, 2, 1).shape == embedding.shape[:3]


def test_the_condition_latent_is_scaled(batch: Zero1ToGBatch) -> None:
    modules, unet = silent()
    training_loss(modules, batch, system().drawing.draw([1, 2]), PLAIN)
    shown = unet.told[0][:, :, :, 12:]
    expected = torch.nn.functional.pixel_unshuffle(batch.condition - 1.0, 2) * 0.5
    assert torch.equal(condition_latent(modules.vae, batch.condition), expected)
    for view in range(2):
        for attribute in range(5):
            assert torch.equal(shown[:, view, attribute], expected)


def test_token_and_latent_are_dropped_together(batch: Zero1ToGBatch) -> None:
    modules, unet = silent()
    draws = replace(system().drawing.draw([1, 2]), uniform=torch.tensor([0.049, 0.05]))
    training_loss(modules, batch, draws, LossSettings(0.05, None))
    sample, _, token, embedding = unet.told
    assert not token[0].any()
    assert not sample[0, :, :, 12:].any()
    assert token[1].any()
    assert sample[1, :, :, 12:].any()
    # What is known without a picture stays.
    assert torch.equal(embedding[0], embedding[1])
    assert embedding[0].any()


def test_every_trained_weight_gets_a_gradient(batch: Zero1ToGBatch) -> None:
    made = system().train()
    draws: Draws = made.draw([1, 2])
    made(batch, draws).loss.backward()
    without = [name for name, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
