"""One schedule for training and sampling, and the min-SNR weights by hand."""

from pathlib import Path

import pytest
import torch
from attribute_network_support import toy_parameters
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from stage.errors import InputError
from systems.zero_1_to_g.schedule import build_schedule, check_schedule, min_snr_weights


@pytest.mark.parametrize("zero_terminal_snr", [True, False])
def test_betas_alphas_and_their_products_agree(zero_terminal_snr: bool, tmp_path: Path) -> None:
    made = build_schedule(toy_parameters(zero_terminal_snr=zero_terminal_snr))
    made.save_pretrained(tmp_path)
    loaded = DDIMScheduler.from_pretrained(tmp_path)
    for scheduler in (made, loaded, DDIMScheduler.from_config(made.config)):
        assert torch.equal(scheduler.alphas, 1.0 - scheduler.betas)
        assert torch.equal(scheduler.alphas_cumprod, torch.cumprod(1.0 - scheduler.betas, dim=0))
        assert torch.equal(scheduler.betas, made.betas)
    last = float(made.alphas_cumprod[-1])
    assert last == (0.0 if zero_terminal_snr else pytest.approx(0.00466, abs=1e-5))
    assert float(made.alphas_cumprod[0]) == pytest.approx(0.99915)


def test_noise_velocity_and_sampling_take_the_same_schedule() -> None:
    scheduler = build_schedule(toy_parameters())
    clean, noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 400, 999])
    product = torch.cumprod(1.0 - scheduler.betas, dim=0)[timesteps][:, None]
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    torch.testing.assert_close(noisy, product.sqrt() * clean + (1 - product).sqrt() * noise)
    torch.testing.assert_close(velocity, product.sqrt() * noise - (1 - product).sqrt() * clean)
    # At the last timestep nothing is left of the image, and the true velocity leads from the noise to it in one step.
    assert torch.equal(noisy[2], noise[2])
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [999]
    torch.testing.assert_close(scheduler.step(velocity[2], 999, noisy[2]).prev_sample, clean[2])


def test_the_released_way_to_rescale_is_refused() -> None:
    scheduler = build_schedule(toy_parameters(zero_terminal_snr=False))
    scheduler.betas = rescale_zero_terminal_snr(scheduler.betas)
    with pytest.raises(InputError, match=r"alphas_cumprod is .* at timestep \d+ where its betas make"):
        check_schedule(scheduler)


def test_min_snr_weights_by_hand() -> None:
    # ᾱ = 0.9, 0.5, 0.1, 0: SNR = 9, 1, 1/9, 0.
    betas = [0.1, 4 / 9, 0.8, 1.0]
    timesteps = torch.arange(4)
    expected = {
        "sample": [5.0, 1.0, 1 / 9, 0.0],
        "epsilon": [5 / 9, 1.0, 1.0, 1.0],
        "v_prediction": [5 / 10, 1 / 2, (1 / 9) / (10 / 9), 0.0],
    }
    for prediction_type, weights in expected.items():
        scheduler = DDIMScheduler(num_train_timesteps=4, trained_betas=betas, prediction_type=prediction_type)
        found = min_snr_weights(scheduler, timesteps, gamma=5.0)
        assert found.tolist() == pytest.approx(weights, rel=1e-5, abs=1e-7)
        assert torch.equal(min_snr_weights(scheduler, timesteps.reshape(2, 1, 2), 5.0), found.reshape(2, 1, 2))


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_min_snr_weights_of_the_whole_schedule_are_finite(prediction_type: str) -> None:
    scheduler = build_schedule(toy_parameters(prediction_type=prediction_type))
    weights = min_snr_weights(scheduler, torch.arange(1000), gamma=5.0)
    assert weights.isfinite().all()
    assert weights.min() == weights[-1] == 0.0
    assert weights.max() <= 5.0


def test_prediction_types_descend_the_same_error_of_the_clean_sample() -> None:
    timesteps = torch.tensor([50, 300, 600, 900])
    off = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = []
    for prediction_type in ("sample", "epsilon", "v_prediction"):
        scheduler = DDIMScheduler(beta_schedule="scaled_linear", prediction_type=prediction_type)
        product = scheduler.alphas_cumprod[timesteps].double()[:, None]
        # The errors of noise and velocity that belong to this error of the clean sample at a given noisy one.
        error = {
            "sample": off,
            "epsilon": off * (product / (1 - product)).sqrt(),
            "v_prediction": off / (1 - product).sqrt(),
        }
        squared = error[prediction_type].square().mean(-1)
        losses.append(squared * min_snr_weights(scheduler, timesteps, 5.0))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-5, atol=1e-9)


def test_another_prediction_type_has_no_weights() -> None:
    scheduler = DDIMScheduler()
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="no min-SNR weights for prediction type flow"):
        min_snr_weights(scheduler, torch.tensor([0]), 5.0)
