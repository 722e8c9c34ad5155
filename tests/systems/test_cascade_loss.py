"""Cascade-Zero123's loss: which tokens the denoiser sees, and what dropout takes away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from systems.cascade_zero123.loss import CascadeBatch, cascade_loss, with_prompts
from systems.cascade_zero123.prompts import Prompts
from systems.zero123.encoding import condition_latent, embed_images
from systems.zero123.loss import Draws, TrainingBatch, draw
from systems.zero123.modules import Zero123Modules

# r < 2u loses the embeddings, u ≤ r < 3u the latent; u = 0.05.
EMBEDDINGS, BOTH, LATENT, NOTHING = 0.02, 0.07, 0.12, 0.5


@pytest.fixture
def shown(batch: TrainingBatch, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]) -> CascadeBatch:
    near = pictures(12, seed=4).unflatten(0, (4, 3))
    return with_prompts(batch, Prompts(pictures(4, seed=3), near, poses(12).unflatten(0, (4, 3))))


@pytest.fixture
def draws() -> Draws:
    """A sample of each kind of dropout."""
    uniform = torch.tensor([EMBEDDINGS, BOTH, LATENT, NOTHING])
    return replace(draw(range(4), (48, 4, 4), 1000), uniform=uniform)


@pytest.fixture
def seen(modules: Zero123Modules, shown: CascadeBatch, draws: Draws, spy_on: Callable[..., Any]) -> Any:
    """What the denoiser was given; its projection adds known numbers."""
    with torch.no_grad():
        modules.cc_projection.linear.bias.fill_(0.25)
    spy = spy_on(modules.unet, lambda sample, _: torch.zeros_like(sample[:, :48]))
    cascade_loss(modules, shown, draws, 0.05)
    return spy


def test_five_tokens_of_the_shared_projection(modules: Zero123Modules, shown: CascadeBatch, seen: Any) -> None:
    (tokens,) = seen.tokens
    weight, bias = modules.cc_projection.linear.weight, modules.cc_projection.linear.bias

    def token(picture: Tensor, pose: Tensor) -> Tensor:
        embedding = embed_images(modules.image_encoder, picture[None])[0]
        return weight @ torch.cat([embedding, pose]) + bias

    kept = 3
    expected = [token(shown.condition[kept], shown.pose[kept]), token(shown.coarse[kept], torch.zeros(4))]
    expected += [token(shown.near[kept, i], shown.near_poses[kept, i]) for i in range(3)]
    assert tokens.shape == (4, 5, 16)
    torch.testing.assert_close(tokens[kept], torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_dropout_zeroes_source_and_coarse_target_before_the_projection(
    modules: Zero123Modules, shown: CascadeBatch, seen: Any
) -> None:
    (tokens,) = seen.tokens
    pose_columns = modules.cc_projection.linear.weight[:, -4:]
    for row in (0, 1):
        torch.testing.assert_close(tokens[row, 0], pose_columns @ shown.pose[row] + 0.25)
        torch.testing.assert_close(tokens[row, 1], torch.full((16,), 0.25))
    for row in (2, 3):
        assert not torch.allclose(tokens[row, 1], torch.full((16,), 0.25), atol=1e-3)


def test_near_views_are_never_dropped(modules: Zero123Modules, shown: CascadeBatch, draws: Draws, seen: Any) -> None:
    (dropped,) = seen.tokens
    seen.tokens.clear()
    cascade_loss(modules, shown, draws, 0.0)
    (kept,) = seen.tokens
    assert torch.equal(dropped[:, 2:], kept[:, 2:])
    assert not torch.equal(dropped[:2, :2], kept[:2, :2])


def test_the_latent_is_the_sources_alone(modules: Zero123Modules, shown: CascadeBatch, seen: Any) -> None:
    (inputs,) = seen.inputs
    latent = condition_latent(modules.vae, shown.condition)
    torch.testing.assert_close(inputs[:, 48:], latent * torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None, None, None])


def test_the_loss_is_the_error_of_the_goal(
    modules: Zero123Modules, shown: CascadeBatch, draws: Draws, spy_on: Callable[..., Any]
) -> None:
    """A denoiser that says nothing errs by the velocity, √ᾱ ε − √(1 − ᾱ) z."""
    spy_on(modules.unet, lambda sample, _: torch.zeros_like(sample[:, :48]))
    outcome = cascade_loss(modules, shown, draws, 0.05)
    latent = modules.vae.encode(shown.target).latent_dist.mode() * 0.3
    kept = modules.scheduler.alphas_cumprod[draws.timesteps][:, None, None, None]
    velocity = kept.sqrt() * draws.noise - (1 - kept).sqrt() * latent
    torch.testing.assert_close(outcome.errors, velocity.square().mean((1, 2, 3)))
    torch.testing.assert_close(outcome.loss, velocity.square().mean())


@pytest.mark.parametrize("part", ["coarse", "near", "near_poses"])
def test_every_prompt_counts(modules: Zero123Modules, shown: CascadeBatch, draws: Draws, part: str) -> None:
    before = cascade_loss(modules, shown, draws, 0.0).errors
    changed = replace(shown, **{part: -getattr(shown, part)})
    assert (cascade_loss(modules, changed, draws, 0.0).errors != before).all()


def test_the_order_of_near_views_does_not_count(modules: Zero123Modules, shown: CascadeBatch, draws: Draws) -> None:
    """Attention knows no order: which near view is which its pose says."""
    turned = replace(shown, near=shown.near.flip(1), near_poses=shown.near_poses.flip(1))
    one, other = (cascade_loss(modules, each, draws, 0.0).loss for each in (shown, turned))
    torch.testing.assert_close(one, other)
