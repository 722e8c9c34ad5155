"""The training loss against its formulas: inputs of the denoiser, goals, dropout, draws, gradients."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from geometry.cameras import look_at_origin
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import Draws, TrainingBatch, batch_from_pairs, draw, shifted, training_loss
from systems.zero123.modules import Zero123Modules, build_modules, build_unet
from systems.zero123.parameters import SchedulerName, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import load_pipeline
from systems.zero123.schedulers import scheduler_named
from systems.zero123.training import Zero123Training

SHAPE = (48, 4, 4)
KEPT, EMBEDDING_DROPPED, BOTH_DROPPED, LATENT_DROPPED = 0.9, 0.01, 0.06, 0.12


@pytest.fixture
def draws() -> Draws:
    return Draws(
        noise=torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3)),
        timesteps=torch.tensor([0, 100, 500, 999]),
        uniform=torch.full((4,), KEPT),
        posterior=torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(4)),
    )


def share_of_signal() -> Tensor:
    """ᾱ of Stable Diffusion's schedule."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return torch.from_numpy(np.cumprod(1 - betas)).float()


def test_noisy_target_comes_first_and_clean_condition_second(
    tiny: Callable[..., Zero123Parameters], batch: TrainingBatch, draws: Draws, spy_on: Callable[..., Any]
) -> None:
    modules = build_modules(tiny(zero_terminal_snr=False), 0)
    spy = spy_on(modules.unet)
    training_loss(modules, batch, draws, dropout=0.05)
    alpha = share_of_signal()[draws.timesteps][:, None, None, None]
    noisy = alpha.sqrt() * 0.3 * pixel_unshuffle(batch.target - 1, 4) + (1 - alpha).sqrt() * draws.noise
    assert torch.allclose(spy.inputs[0][:, :48], noisy, atol=1e-5)
    assert torch.equal(spy.inputs[0][:, 48:], pixel_unshuffle(batch.condition - 1, 4))
    assert torch.equal(spy.timesteps[0], draws.timesteps)


def test_zero_terminal_snr_ends_in_pure_noise(
    modules: Zero123Modules, batch: TrainingBatch, draws: Draws, spy_on: Callable[..., Any]
) -> None:
    spy = spy_on(modules.unet)
    training_loss(modules, batch, draws, dropout=0.05)
    assert torch.equal(spy.inputs[0][3, :48], draws.noise[3])


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_goal_of_each_prediction_type(
    tiny: Callable[..., Zero123Parameters],
    batch: TrainingBatch,
    draws: Draws,
    spy_on: Callable[..., Any],
    prediction_type: str,
) -> None:
    modules = build_modules(tiny(prediction_type=prediction_type, zero_terminal_snr=False), 0)
    alpha = share_of_signal()[draws.timesteps][:, None, None, None]
    latent = 0.3 * pixel_unshuffle(batch.target - 1, 4)
    goals = {
        "epsilon": draws.noise,
        "sample": latent,
        "v_prediction": alpha.sqrt() * draws.noise - (1 - alpha).sqrt() * latent,
    }
    spy_on(modules.unet, lambda *_: goals[prediction_type] + 0.5)
    assert training_loss(modules, batch, draws, dropout=0.05).loss.item() == pytest.approx(0.25, abs=1e-5)


def test_kept_condition_is_the_projected_embedding(
    modules: Zero123Modules, batch: TrainingBatch, draws: Draws, spy_on: Callable[..., Any]
) -> None:
    embedding = torch.randn(4, 16)
    modules.image_encoder.forward = lambda _: type("Output", (), {"image_embeds": embedding})
    spy = spy_on(modules.unet)
    training_loss(modules, batch, draws, dropout=0.05)
    assert torch.equal(spy.tokens[0], modules.cc_projection(embedding, batch.pose))


@pytest.mark.parametrize("uniform", [EMBEDDING_DROPPED, BOTH_DROPPED])
def test_null_condition_in_training_is_a_zero_embedding_that_keeps_the_pose(
    modules: Zero123Modules, batch: TrainingBatch, draws: Draws, spy_on: Callable[..., Any], uniform: float
) -> None:
    spy = spy_on(modules.unet)
    training_loss(modules, batch, replace(draws, uniform=torch.full((4,), uniform)), dropout=0.05)
    assert torch.allclose(spy.tokens[0], modules.cc_projection(torch.zeros(4, 16), batch.pose))
    assert spy.tokens[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("uniform", "kept"), [(EMBEDDING_DROPPED, True), (BOTH_DROPPED, False), (LATENT_DROPPED, False)]
)
def test_dropped_latent_is_zero(
    modules: Zero123Modules,
    batch: TrainingBatch,
    draws: Draws,
    spy_on: Callable[..., Any],
    uniform: float,
    kept: bool,
) -> None:
    spy = spy_on(modules.unet)
    training_loss(modules, batch, replace(draws, uniform=torch.full((4,), uniform)), dropout=0.05)
    assert bool(spy.inputs[0][:, 48:].any()) is kept


def test_draws_do_not_depend_on_how_a_batch_is_split() -> None:
    seeds = [11, 12, 13, 14]
    whole, parts = draw(seeds, SHAPE, 1000), [draw(seeds[:1], SHAPE, 1000), draw(seeds[1:], SHAPE, 1000)]
    for name in vars(whole):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


def test_draws_have_the_right_ranges() -> None:
    draws = draw(range(2000), (1, 2, 2), 10)
    assert set(draws.timesteps.tolist()) == set(range(10))
    assert draws.uniform.min() >= 0
    assert draws.uniform.max() < 1
    assert draws.noise.mean().item() == pytest.approx(0, abs=0.05)
    assert draws.noise.std().item() == pytest.approx(1, abs=0.05)


def test_loss_of_a_batch_is_the_mean_over_its_parts(
    modules: Zero123Modules, batch: TrainingBatch, draws: Draws
) -> None:
    def loss(rows: slice) -> float:
        part = TrainingBatch(batch.target[rows], batch.condition[rows], batch.pose[rows])
        drawn = Draws(**{name: values[rows] for name, values in vars(draws).items()})
        return training_loss(modules, part, drawn, dropout=0.05).loss.item()

    assert loss(slice(0, 4)) == pytest.approx((loss(slice(0, 2)) + loss(slice(2, 4))) / 2, rel=1e-5)


def test_batch_from_pairs_composites_on_white_and_computes_poses() -> None:
    cameras = [look_at_origin(0.9, 0.1 + np.pi / 2, 1.9), look_at_origin(1.2, 0.1, 1.5)]
    rgba = torch.zeros(1, 2, 4, 4, 4, dtype=torch.uint8)
    rgba[0, 1, ..., 3] = 255
    rgba[0, 1, 2, 3] = torch.tensor([255, 51, 0, 102])
    batch = batch_from_pairs(rgba, relative_poses(torch.from_numpy(np.stack(cameras))[None]))
    assert batch.target.shape == batch.condition.shape == (1, 3, 4, 4)
    assert (batch.target == 1).all(), "nothing there is white, whatever its colour"
    torch.testing.assert_close(batch.condition[0, :, 2, 3], torch.tensor([1.0, 0.36, 0.2]))
    assert (batch.condition == -1).sum() == 3 * 15
    np.testing.assert_allclose(batch.pose.numpy(), [[-0.3, 1.0, 0.0, 0.4]], atol=1e-6)
    assert batch.pose.dtype == torch.float32


@pytest.mark.parametrize("sign", [1, -1])
def test_sample_of_a_vae_follows_from_the_draws(
    tiny: Callable[..., Zero123Parameters],
    kl: AutoencoderKL,
    spy_on: Callable[..., Any],
    batch: TrainingBatch,
    sign: int,
) -> None:
    modules = build_modules(tiny(prediction_type="sample"), 0)
    modules.vae = kl
    drawn = draw([1, 2, 3, 4], (4, 8, 8), 1000)
    posterior = kl.encode(batch.target).latent_dist
    goal = (posterior.mean + posterior.std * sign * drawn.posterior) * 0.18215
    spy_on(modules.unet, lambda *_: goal)
    loss = training_loss(modules, batch, replace(drawn, posterior=sign * drawn.posterior), dropout=0.05)
    assert loss.loss.item() < 1e-10


def system_with_gradients(parameters: Zero123Parameters, batch: TrainingBatch) -> Zero123Training:
    system = Zero123Training(parameters, seed=0, image_size=16)
    system(batch, system.draw([1, 2, 3, 4])).loss.backward()
    return system


def test_gradient_reaches_every_trained_part(tiny: Callable[..., Zero123Parameters], batch: TrainingBatch) -> None:
    system = system_with_gradients(tiny(dropout=0.0), batch)
    for module in (system.unet, system.cc_projection, system.image_encoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            # One cross-attention token: its weight is 1 whatever query and key are.
            alone = ".attn2.to_q" in name or ".attn2.to_k" in name
            assert alone or parameter.grad.abs().max() > 0, name


def test_gradient_reaches_both_latents_and_the_pose(
    tiny: Callable[..., Zero123Parameters], batch: TrainingBatch
) -> None:
    system = system_with_gradients(tiny(dropout=0.0), batch)
    into_unet, into_token = system.unet.conv_in.weight.grad, system.cc_projection.linear.weight.grad
    assert into_unet[:, :48].abs().sum() > 0
    assert into_unet[:, 48:].abs().sum() > 0
    assert into_token[:, :16].abs().sum() > 0
    assert into_token[:, 16:].abs().sum() > 0


def test_frozen_parts_get_no_gradient(tiny: Callable[..., Zero123Parameters], batch: TrainingBatch) -> None:
    frozen = tiny().image_encoder.model_copy(update={"train": False})
    system = system_with_gradients(tiny(image_encoder=frozen), batch)
    for module in (system.vae, system.image_encoder):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


def test_the_projection_is_a_group_of_its_own(tiny: Callable[..., Zero123Parameters]) -> None:
    system = Zero123Training(tiny(), seed=0, image_size=16)
    groups = system.parameter_groups()
    assert {id(p) for p in groups["cc_projection"]} == {id(p) for p in system.cc_projection.parameters()}
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in system.parameters() if p.requires_grad)


def test_each_sample_has_its_own_error(modules: Zero123Modules, batch: TrainingBatch, draws: Draws) -> None:
    whole = training_loss(modules, batch, draws, dropout=0.05)
    assert torch.equal(whole.timesteps, draws.timesteps)
    assert whole.errors.mean().item() == pytest.approx(whole.loss.item(), rel=1e-5)
    for row in range(4):
        part = TrainingBatch(*(values[row : row + 1] for values in vars(batch).values()))
        drawn = Draws(**{name: values[row : row + 1] for name, values in vars(draws).items()})
        alone = training_loss(modules, part, drawn, dropout=0.05).loss.item()
        assert whole.errors[row].item() == pytest.approx(alone, rel=1e-4)


def test_weights_follow_from_the_seed(tiny: Callable[..., Zero123Parameters]) -> None:
    one, same, other = (build_modules(tiny(), seed).unet.conv_in.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_published_unet_is_described_by_its_parameters() -> None:
    parameters = Zero123Parameters.model_validate(
        {
            "unet": {
                "block_channels": (32, 32, 64, 64),
                "layers_per_block": 2,
                "attention_heads": 8,
                "last_block_attention": False,
            },
            "autoencoder": {"factor": 1},
        }
    )
    config = build_modules(parameters, 0).unet.config
    assert (config.in_channels, config.out_channels) == (6, 3)
    assert config.down_block_types == ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    assert config.up_block_types == ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


def test_published_unet_has_859532484_parameters() -> None:
    parameters = UNetParameters(
        block_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        attention_heads=8,
        norm_groups=32,
        last_block_attention=False,
    )
    with torch.device("meta"):
        unet = build_unet(parameters, latent_channels=4, cross_attention_dim=768)
    assert sum(p.numel() for p in unet.parameters()) == 859_532_484


@pytest.mark.parametrize(
    ("uniform", "shift", "timestep"),
    # 3·0.5 / (1 + 2·0.5) = 0.75, 6·0.25 / (1 + 5·0.25) = 2/3
    [(0.0, 6.0, 0), (0.5, 1.0, 500), (0.5, 3.0, 750), (0.25, 6.0, 666), (1.0, 3.0, 999)],
)
def test_timestep_shift_by_hand(uniform: float, shift: float, timestep: int) -> None:
    assert int(shifted(torch.tensor(uniform), 1000, shift)) == timestep


def test_a_larger_shift_draws_more_noise_everything_else_equal() -> None:
    plain, noisy = draw(range(200), SHAPE, 1000), draw(range(200), SHAPE, 1000, shift=6.0)
    assert (noisy.timesteps >= plain.timesteps).all()
    # P(t ≥ 500) is P(u ≥ 1/7).
    assert (noisy.timesteps >= 500).float().mean() == pytest.approx(6 / 7, abs=0.07)
    assert torch.equal(noisy.noise, plain.noise)
    assert torch.equal(noisy.uniform, plain.uniform)


@pytest.mark.parametrize("name", ["euler", "dpm"])
def test_noise_of_training_does_not_depend_on_the_sampler_that_a_folder_names(
    tiny: Callable[..., Zero123Parameters], batch: TrainingBatch, tmp_path: Path, name: SchedulerName
) -> None:
    Zero123Training(tiny(), seed=0, image_size=16).save(tmp_path / "ddim")
    pipeline = load_pipeline(tmp_path / "ddim")
    pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
    pipeline.save_pretrained(tmp_path / name)
    systems = (Zero123Training(tiny(pretrained=str(tmp_path / each)), 0, 16) for each in ("ddim", name))
    expected, got = (system(batch, system.draw([1, 2, 3, 4])).errors for system in systems)
    assert torch.equal(expected, got)
