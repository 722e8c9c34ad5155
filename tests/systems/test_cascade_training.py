"""Cascade-Zero123 as the engine sees it: what is trained, what is frozen, and what a batch brings along."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_support import SIZE, cascade_parameters, cascade_training
from pydantic import ValidationError
from torch import Tensor

from geometry.cameras import look_at_origin
from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.training import CascadeTraining
from systems.pipelines import load_pipeline
from systems.trainable import Views
from systems.zero123.conditioning import relative_poses
from systems.zero123.parameters import ImageEncoderParameters, Zero123Parameters
from systems.zero123.training import Zero123Training
from tests.pair_views import views_of
from training.dry_run.outline import counted, outlined
from training.dry_run.trace import traced


@pytest.fixture
def pairs() -> Views:
    """Three pairs of views of noise."""
    chance = np.random.default_rng(0)
    rgba = torch.from_numpy(chance.integers(0, 256, (3, 2, SIZE, SIZE, 4), dtype=np.uint8))
    c2w = [[look_at_origin(1.0 + 0.1 * row, 0.4 * row, 2.0), look_at_origin(1.3, -0.3, 1.8)] for row in range(3)]
    return views_of(rgba, torch.from_numpy(np.array(c2w)).float())


@pytest.fixture
def training() -> CascadeTraining:
    return cascade_training()


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_both_networks_begin_with_the_same_weights(training: CascadeTraining) -> None:
    assert same(weights(training.unet), weights(training.base_unet))
    assert same(weights(training.cc_projection), weights(training.base_projection))
    assert training.unet is not training.base_unet


def test_both_networks_begin_with_a_zero123_folder(tiny: Callable[..., Zero123Parameters], tmp_path: Path) -> None:
    before = Zero123Training(tiny(), 5, SIZE)
    before.save(tmp_path / "zero123")
    parameters = cascade_parameters().model_copy(update={"pretrained": str(tmp_path / "zero123")})
    training = CascadeTraining(parameters, 0, SIZE)
    assert same(weights(training.unet), weights(before.unet))
    assert same(weights(training.base_unet), weights(before.unet))
    assert same(weights(training.base_projection), weights(before.cc_projection))
    assert not any(parameter.requires_grad for parameter in training.image_encoder.parameters())


def test_the_refiner_alone_is_trained(training: CascadeTraining, pairs: Views) -> None:
    groups = training.parameter_groups()
    assert {id(p) for p in groups["denoiser"]} == {id(p) for p in training.unet.parameters()}
    assert {id(p) for p in groups["cc_projection"]} == {id(p) for p in training.cc_projection.parameters()}
    assert training.learning_rate_factors() == {"cc_projection": 10.0}
    base = weights(training.base)
    training(training.batch(pairs), training.draw([1, 2, 3])).loss.backward()
    optimizer = torch.optim.SGD([p for group in groups.values() for p in group], lr=0.1)
    optimizer.step()
    assert all(parameter.grad is not None for group in groups.values() for parameter in group)
    assert same(weights(training.base), base)
    assert not same(weights(training.unet), weights(training.base_unet))
    assert not any(p.grad is not None for p in [*training.base.parameters(), *training.image_encoder.parameters()])


def test_queries_and_keys_learn_with_several_tokens(training: CascadeTraining, pairs: Views) -> None:
    """With Zero-1-to-3's single one the softmax is 1 whatever they are."""
    training(training.batch(pairs), training.draw([1, 2, 3])).loss.backward()
    moved = [p.grad for name, p in training.unet.named_parameters() if "attn2.to_q" in name or "attn2.to_k" in name]
    assert moved
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in moved)


def test_a_batch_has_what_the_base_makes_of_its_conditions(training: CascadeTraining, pairs: Views) -> None:
    batch = training.batch(pairs)
    torch.testing.assert_close(batch.pose, relative_poses(pairs.c2w))
    assert batch.coarse.shape == (3, 3, SIZE, SIZE)
    assert batch.near.shape == (3, 3, 3, SIZE, SIZE)
    assert batch.coarse.abs().max() <= 1
    with torch.no_grad():
        for parameter in training.base.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(training.batch(pairs).coarse, batch.coarse)


def test_a_stand_in_has_the_shapes_and_asks_nobody(
    training: CascadeTraining, pairs: Views, spy_on: Callable[..., Any]
) -> None:
    real, spy = training.batch(pairs), spy_on(training.base_unet)
    stand_in = training.stand_in(pairs)
    for field in fields(real):
        assert getattr(stand_in, field.name).shape == getattr(real, field.name).shape, field.name
    assert spy.inputs == []


def test_the_same_seeds_predict_the_same(training: CascadeTraining, pairs: Views) -> None:
    batch = training.batch(pairs)
    one, again, other = (training.predict(batch, seeds, 3, 2.0) for seeds in ([1, 2, 3], [1, 2, 3], [4, 5, 6]))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == (3, 3, SIZE, SIZE)


def test_what_is_predicted_follows_from_the_prompts(
    training: CascadeTraining, pairs: Views, spy_on: Callable[..., Any]
) -> None:
    batch, spy = training.batch(pairs), spy_on(training.unet)
    training.predict(batch, [1, 2, 3], 3, 1.0)
    assert spy.tokens[0].shape == (3, 5, 16)


def test_both_networks_are_saved(training: CascadeTraining, tmp_path: Path) -> None:
    with torch.no_grad():
        training.unet.conv_in.weight.mul_(2)
    training.save(tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    assert same(weights(loaded.unet), weights(training.unet))
    assert same(weights(loaded.base_unet), weights(training.base_unet))
    assert same(weights(loaded.base_projection), weights(training.base_projection))
    assert (loaded.config.prompt_steps, loaded.image_size) == (training.settings.inference_steps, SIZE)


def test_a_trained_image_encoder_is_refused() -> None:
    with pytest.raises(ValidationError, match="Base-0123 has the same image encoder"):
        CascadeParameters(image_encoder=ImageEncoderParameters(train=True))


def test_a_dry_run_counts_the_base_and_samples_nothing() -> None:
    outline = outlined(cascade_parameters(), SIZE, CascadeTraining, "cascade_zero123")
    counts = {module.name: module for module in counted(outline)}
    assert counts["base"].total == counts["unet"].total + counts["cc_projection"].total
    assert (counts["base"].trained, counts["unet"].trained) == (0, counts["unet"].total)
    assert traced(outline, 4).activations > traced(outline, 2).activations > 0
