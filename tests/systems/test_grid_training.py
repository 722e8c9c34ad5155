"""Zero-1-to-G's first generation as the engine sees it: batches, codes, losses by hand, stages, and what is saved."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from grid_support import SIDE, SIZE, grid_parameters, grid_training
from pydantic import ValidationError
from torch import Tensor

from geometry.attribute_tensors import gaussians_of
from geometry.rasterizer import rasterize
from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.trainable import Views
from systems.zero_1_to_g.grid.codes import KeptCodes, encoded
from systems.zero_1_to_g.grid.layout import grid_of, scaled_image, scaled_latents
from systems.zero_1_to_g.grid.loss import is_guided, rendering_errors, splatter_errors
from systems.zero_1_to_g.grid.modules import clean, noised
from systems.zero_1_to_g.grid.parameters import AttributeWeights, GridLossParameters
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining
from tests.grid_boxes import box, grid_views


@pytest.fixture(scope="module")
def views() -> Views:
    return grid_views([box(1), box(2)], SIZE, SIDE, others=2)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def loss_of(training: Zero1ToGGridTraining, views: Views) -> float:
    return float(training(training.batch(views), training.draw([1, 2])).loss.detach())


def test_a_batch_has_the_views_in_their_places(views: Views) -> None:
    batch = grid_training().batch(views)
    grey = (views.rgba[..., :3] / 255.0) * (views.rgba[..., 3:] / 255.0) + 0.5 * (1 - views.rgba[..., 3:] / 255.0)
    torch.testing.assert_close(batch.pictures, grey[:, :6].movedim(-1, -3) * 2 - 1)
    torch.testing.assert_close(batch.rgba, views.rgba[:, 6:8] / 255.0)
    assert float(batch.condition[0, 0, 0, 0]) == 1.0
    assert batch.pictures[0, 0, :, 0, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(batch.elevations, torch.full((2,), np.deg2rad(10)).float(), atol=1e-6, rtol=0)
    assert grid_training(render_input_views=True).batch(views).rgba.shape[1] == 8
    assert grid_training(condition_background=0.5).batch(views).condition[0, :, 0, 0].tolist() == [0, 0, 0]


def test_pictures_are_brought_to_the_size_of_the_grid(views: Views) -> None:
    batch = grid_training(input_size=8).batch(views)
    assert batch.pictures.shape == (2, 6, 3, 8, 8)
    assert batch.rgba.shape == (2, 2, SIZE, SIZE, 4)


@pytest.mark.parametrize("azimuth", [40.0, -130.0])
def test_renderings_do_not_depend_on_where_the_input_stands(azimuth: float) -> None:
    """In the input's frame its camera stands at azimuth 0; the truth's Gaussians and the cameras are turned together."""
    training, turned = grid_training(), grid_views([box(1)], SIZE, SIDE, others=3, azimuth_deg=azimuth)
    batch = training.batch(turned)
    assert batch.splatters is not None
    scene = gaussians_of(turned.splatters.channels[0].float())  # type: ignore[union-attr]
    for view in range(3):
        lens = batch.lenses[0][view]
        one = rasterize(gaussians_of(batch.splatters[0]), batch.c2w[0][view][None], lens)
        other = rasterize(scene, turned.c2w[0, 6 + view][None].numpy(), lens)
        torch.testing.assert_close(one.rgb, other.rgb, atol=2e-3, rtol=0)
    seen = training.batch(replace(turned, c2w=turned.c2w[:, [0, 1, 2, 3, 4, 5, 9, 7, 8, 9]]))
    np.testing.assert_allclose(seen.c2w[0][0][1, 3], 0.0, atol=1e-6)
    assert seen.c2w[0][0][0, 3] > 0


def test_codes_of_the_published_autoencoder_by_hand(kl: Any) -> None:
    pictures = torch.rand(1, 6, 3, 8, 8) * 2 - 1
    noise = torch.randn(1, 4, 12, 8)
    with torch.no_grad():
        posterior = kl.encode(grid_of(pictures) * 0.625).latent_dist
        expected = ((posterior.mean + posterior.std * noise) * 0.18215 - 0.22) * 0.75
        torch.testing.assert_close(encoded(kl, pictures, noise), expected)
        torch.testing.assert_close(encoded(kl, pictures), (posterior.mean * 0.18215 - 0.22) * 0.75)


def test_the_splatter_loss_by_hand() -> None:
    made, truth = torch.zeros(1, 6, 14, 1, 1), torch.zeros(1, 6, 14, 1, 1)
    made[:, :, :3], made[:, :, 3], made[:, :, 4:7], made[:, :, 7:11], made[:, :, 11:] = 0.1, 0.5, 0.2, 0.3, 0.4
    errors = splatter_errors(made, truth, AttributeWeights())
    assert float(errors) == pytest.approx(0.01 + 1e-3 * 0.25 + 1e-3 * 0.04 + 0.09 + 0.16)
    only = AttributeWeights(position=0, opacity=2.0, scale=0, rotation=0, colour=0)
    assert float(splatter_errors(made, truth, only)) == pytest.approx(0.5)


def test_the_rendering_loss_by_hand(views: Views) -> None:
    """Nothing is rendered: colours are the background's, alpha is zero."""
    batch = grid_training().batch(views)
    nothing = torch.zeros(2, 6, 14, 2, 2)
    nothing[:, :, 4:8] = 0.1
    background = torch.tensor([[0.2, 0.4, 0.6]]).expand(2, 3)
    alpha = batch.rgba[..., 3]
    colours = alpha[..., None] * (batch.rgba[..., :3] - torch.tensor([0.2, 0.4, 0.6]))
    expected = colours.square().mean((1, 2, 3, 4)) + alpha.square().mean((1, 2, 3))
    loss = GridLossParameters(lambda_rendering=2.0, lambda_alpha=7.0)
    torch.testing.assert_close(rendering_errors(nothing, batch, background, loss), 2 * expected)
    of_alpha = GridLossParameters(lambda_rendering=0.0, lambda_alpha=7.0)
    torch.testing.assert_close(
        rendering_errors(nothing, batch, background, of_alpha), 7 * alpha.square().mean((1, 2, 3))
    )


def test_the_truth_has_the_least_loss() -> None:
    batch = grid_training().batch(grid_views([box(1), box(2)], SIZE, SIZE, others=2))
    assert batch.splatters is not None
    loss, background = GridLossParameters(), torch.tensor([[0.1, 0.5, 0.9]] * 2)
    best = rendering_errors(batch.splatters, batch, background, loss)
    moved = batch.splatters.clone()
    moved[:, :, 0] += 0.2
    assert (rendering_errors(moved, batch, background, loss) > 2 * best).all()
    assert splatter_errors(batch.splatters, batch.splatters, loss.attributes).tolist() == [0, 0]


@pytest.mark.parametrize(("interval", "warmup", "epochs"), [(1, 0, [0, 1, 2, 3, 4]), (3, 1, [0, 1, 3])])
def test_epochs_of_the_splatter_loss(interval: int, warmup: int, epochs: list[int]) -> None:
    loss = GridLossParameters(splatter_guidance_interval=interval, splatter_guidance_warmup=warmup)
    assert [epoch for epoch in range(5) if is_guided(loss, epoch)] == epochs


def test_clean_codes_come_back_from_their_velocity() -> None:
    training = grid_training()
    codes, noise, timesteps = torch.randn(2, 48, 4, 4), torch.randn(2, 48, 4, 4), torch.tensor([0, 900])
    noisy = noised(training.scheduler, codes, noise, timesteps)
    torch.testing.assert_close(noisy, training.scheduler.add_noise(codes, noise, timesteps))
    velocity = training.scheduler.get_velocity(codes, noise, timesteps)
    torch.testing.assert_close(clean(training.scheduler, noisy, velocity, timesteps), codes, atol=1e-5, rtol=0)


def test_the_decoder_stage_trains_the_decoder_alone(views: Views) -> None:
    training = grid_training()
    (parameters,) = training.parameter_groups().values()
    training(training.batch(views), training.draw([1, 2])).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in parameters)
    assert {id(p) for p in training.parameters() if p.requires_grad} == {id(p) for p in parameters}
    assert training.denoiser is training.splatter_decoder


def test_the_unet_stage_trains_the_denoiser_alone(views: Views) -> None:
    training = grid_training(stage="unet")
    (parameters,) = training.parameter_groups().values()
    outcome = training(training.batch(views), training.draw([1, 2]))
    outcome.loss.backward()
    assert {id(p) for p in training.parameters() if p.grad is not None} == {id(p) for p in training.unet.parameters()}
    assert len(parameters) == len(list(training.unet.parameters()))
    assert outcome.timesteps.tolist() == training.draw([1, 2]).timesteps.tolist()
    assert training.denoiser is training.unet


def test_the_unet_stage_descends_the_error_of_its_codes(views: Views) -> None:
    """As the released script does, which renders nothing; a denoiser of zeros takes √ᾱ times the noisy code for the clean one."""
    training = grid_training(stage="unet", loss={"lambda_splatter": 0, "lambda_rendering": 0})
    for parameter in training.unet.conv_out.parameters():
        torch.nn.init.zeros_(parameter)
    batch, draws = training.batch(views), training.draw([1, 2])
    codes = encoded(training.vae, batch.pictures)
    kept = training.scheduler.alphas_cumprod[draws.timesteps].reshape(2, 1, 1, 1)
    made = kept.sqrt() * (kept.sqrt() * codes + (1 - kept).sqrt() * draws.noise)
    expected = (made - codes).square().mean((1, 2, 3))
    torch.testing.assert_close(training(batch, draws).errors, expected)


def test_epochs_of_mixed_codes(views: Views) -> None:
    """In every second epoch, the first included, the decoder decodes what the denoiser makes of noised codes."""
    plain, mixed = grid_training(), grid_training(mix_diffusion_interval=2)
    assert [epoch for epoch in range(5) if mixed.is_mixed(epoch)] == [0, 2, 4]
    assert not any(plain.is_mixed(epoch) for epoch in range(5))
    losses = [loss_of(mixed, replace(views, epoch=epoch)) for epoch in (0, 1, 2)]
    assert losses[0] == losses[2] != losses[1] == loss_of(plain, views)
    outcome = mixed(mixed.batch(replace(views, epoch=2)), mixed.draw([1, 2]))
    assert outcome.timesteps.tolist() == mixed.draw([1, 2]).timesteps.tolist()
    outcome.loss.backward()
    assert all(parameter.grad is None for parameter in mixed.unet.parameters())


def test_kept_codes_are_read_and_are_those_of_their_pictures(views: Views, tmp_path: Path) -> None:
    training = grid_training(stage="unet", codes="cache")
    training.keep_in(tmp_path)
    first = training.batch(views)
    assert training.kept is not None
    assert training.kept.encoded == 2
    again = training.batch(views)
    assert training.kept.encoded == 2
    assert first.codes is not None
    assert again.codes is not None
    assert torch.equal(first.codes, again.codes)
    torch.testing.assert_close(first.codes, encoded(training.vae, first.pictures))
    later = grid_training(stage="unet", codes="cache")
    later.keep_in(tmp_path)
    assert later.batch(views).codes is not None
    assert later.kept is not None
    assert later.kept.encoded == 0
    assert loss_of(training, views) == loss_of(later, views)
    assert loss_of(training, views) == loss_of(grid_training(stage="unet", codes="cache"), views)


def test_other_weights_disown_kept_codes(kl: Any, tmp_path: Path) -> None:
    pictures = torch.rand(1, 6, 3, 8, 8)
    kept = KeptCodes(tmp_path, 10**6)
    first = kept.codes(kl, pictures)
    with torch.no_grad():
        weight = next(kl.parameters())
        weight.add_(0.01)
        other = KeptCodes(tmp_path, 10**6)
        assert not torch.equal(other.codes(kl, pictures), first)
        weight.sub_(0.01)
    assert other.encoded == 1


def test_both_stages_are_saved_whole(views: Views, tmp_path: Path) -> None:
    """Stage `unet` begins with the decoder that stage `decoder` made."""
    first = grid_training()
    with torch.no_grad():
        first.splatter_decoder.others.weight.mul_(2)
    first.save(tmp_path / "decoder")
    second = Zero1ToGGridTraining(grid_parameters(stage="unet", pretrained=str(tmp_path / "decoder")), 5, SIZE).eval()
    for name, module in first.system.networks().items():
        assert same(weights(module), weights(getattr(second, name))), name
    second.save(tmp_path / "unet")
    options = {"num_inference_steps": 2, "guidance_scale": 2.0}
    picture, elevation = second.batch(views).condition[:1], torch.zeros(1)
    made = [
        pipeline.sample_splatters(picture, elevation, generator=torch.Generator().manual_seed(1), **options)
        for pipeline in (second.pipeline(second.scheduler), load_pipeline(tmp_path / "unet"))
    ]
    assert torch.equal(*made)
    assert load_pipeline(tmp_path / "unet").image_size == SIZE


@pytest.mark.parametrize("stage", ["decoder", "unet"])
def test_the_same_seeds_predict_the_same(views: Views, stage: str) -> None:
    training = grid_training(stage=stage)
    batch = training.batch(views)
    one, again = (training.predict(batch, [1, 2], 2, 2.0) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (2, 3, SIZE, SIZE)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_what_is_missing_is_said(views: Views) -> None:
    training = grid_training()
    with pytest.raises(InputError, match="views without splatter images; set lambda_splatter to 0"):
        training.batch(replace(views, splatters=None))
    assert grid_training(loss={"lambda_splatter": 0}).batch(replace(views, splatters=None)).splatters is None
    few = replace(views, rgba=views.rgba[:, :7], c2w=views.c2w[:, :7], intrinsics=views.intrinsics[:, :7])
    with pytest.raises(InputError, match="7 views of an object; take 6 of the grid"):
        training.batch(few)


@pytest.mark.parametrize("stage", ["decoder", "unet"])
def test_a_stage_that_descends_nothing_is_refused(stage: str) -> None:
    nothing = {"lambda_splatter": 1.0, "splatter_guidance_interval": 2, "lambda_rendering": 0.0, "lambda_latent": 0.0}
    with pytest.raises(ValidationError, match=f"the stage {stage} descends nothing, or not in every epoch"):
        grid_parameters(stage=stage, loss=nothing)


def test_a_decoder_that_has_learnt_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="stage unet keeps a decoder that has learnt nothing; train stage decoder"):
        Zero1ToGGridTraining(grid_parameters(stage="unet"), 0, SIZE)


def test_lpips_is_left_out_where_it_is_not_installed(
    views: Views, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geometry.perceptual import Unavailable
    from systems.zero_1_to_g.grid import training as module

    monkeypatch.setattr(module, "find_lpips_network", lambda: Unavailable("the package lpips is not installed"))
    with caplog.at_level(logging.WARNING):
        made = grid_training(loss={"lambda_lpips": 1.0})
    assert "lambda_lpips is left out: LPIPS is not available: the package lpips is not installed" in caplog.text
    assert loss_of(made, views) == loss_of(grid_training(), views)


def test_lpips_counts_where_it_is_installed(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    from systems.zero_1_to_g.grid import training as module

    class Network(torch.nn.Module):
        def forward(self, made: Tensor, truth: Tensor) -> Tensor:
            assert made.shape == truth.shape == (2, 3, SIZE, SIZE)
            assert float(truth.min()) >= -1
            return torch.full((2, 1, 1, 1), 0.25)

    monkeypatch.setattr(module, "find_lpips_network", Network)
    assert loss_of(grid_training(loss={"lambda_lpips": 2.0}), views) == pytest.approx(
        loss_of(grid_training(), views) + 0.5, abs=1e-6
    )


def test_scaled_pictures_are_what_is_encoded() -> None:
    """Space-to-depth has white at 0, so that its code of white pictures is known by hand."""
    training = grid_training()
    codes = encoded(training.vae, torch.ones(1, 6, 3, SIZE, SIZE))
    expected = scaled_latents(scaled_image(torch.ones(1, 1, 1, 1)) - 1.0)
    torch.testing.assert_close(codes, expected.expand_as(codes))
