"""Schedulers: a denoiser that knows the truth leads each of them there, and each follows the exact flow of Gaussian data."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stage.errors import InputError
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.schedulers import SCHEDULERS, noise, original_timesteps, scheduler_named, start

SCHEDULES = [
    ("epsilon", False),
    ("v_prediction", False),
    ("sample", False),
    ("v_prediction", True),
    ("sample", True),
]
DETERMINISTIC = ["ddim", "dpm", "unipc", "euler"]
SHAPE = (48, 4, 4)


@pytest.fixture
def made(
    tiny: Callable[..., Zero123Parameters], pipeline_of: Callable[[Zero123Modules], Zero123Pipeline]
) -> Callable[..., Zero123Pipeline]:
    """A pipeline of a scheduler, prediction type and schedule."""

    def pipeline(name: Any, prediction_type: str = "epsilon", zero_terminal_snr: bool = False) -> Zero123Pipeline:
        modules = build_modules(tiny(prediction_type=prediction_type, zero_terminal_snr=zero_terminal_snr), 0)
        made = pipeline_of(modules)
        made.scheduler = scheduler_named(name, made.scheduler)
        return made

    return pipeline


def answering(
    pipeline: Zero123Pipeline, truth: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser from what it holds for the image, in the pipeline's prediction type: truth(noisy latent, ᾱ)."""

    def answer(given: Tensor, timestep: Tensor) -> Tensor:
        level = pipeline.scheduler.alphas_cumprod[int(timestep)]
        noisy = given[:, : SHAPE[0]]
        image = truth(noisy, level)
        fresh = (noisy - level.sqrt() * image) / (1 - level).sqrt()
        kinds = {
            "epsilon": fresh,
            "sample": image,
            "v_prediction": level.sqrt() * fresh - (1 - level).sqrt() * image,
        }
        return kinds[pipeline.scheduler.config.prediction_type]

    return answer


def sampled(pipeline: Zero123Pipeline, steps: int, **options: Any) -> Tensor:
    size = SHAPE[-1] * 4
    values: dict[str, Any] = {
        "guidance_scale": 1.0,
        "eta": 0.0,
        "generator": torch.Generator().manual_seed(0),
        "output_type": "latent",
    }
    return pipeline(
        torch.zeros(1, 3, size, size), torch.zeros(2, 4), num_inference_steps=steps, **(values | options)
    ).images


@pytest.mark.parametrize("steps", [2, 15, 50])
@pytest.mark.parametrize(("prediction_type", "zero_terminal_snr"), SCHEDULES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_denoiser_that_knows_the_image_leads_every_scheduler_to_it(
    made: Callable[..., Zero123Pipeline],
    spy_on: Callable[..., Any],
    name: str,
    prediction_type: str,
    zero_terminal_snr: bool,
    steps: int,
) -> None:
    pipeline = made(name, prediction_type, zero_terminal_snr)
    image = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    spy = spy_on(pipeline.unet, answering(pipeline, lambda *_: image))
    latents = sampled(pipeline, steps, eta=1.0)
    assert len(spy.inputs) == steps
    # What DDIM leaves on the published schedule is ᾱ of its first timestep: √(1 − ᾱ) of noise, by design.
    left = 0.0 if zero_terminal_snr or name != "ddim" else float((1 - pipeline.scheduler.alphas_cumprod[0]).sqrt())
    assert (latents - image).abs().max() < 2e-3 + 5 * left
    assert (latents - image).std() < 1e-3 + 1.1 * left


@pytest.mark.parametrize(("prediction_type", "zero_terminal_snr"), SCHEDULES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_schedulers_follow_the_flow_of_gaussian_data(
    made: Callable[..., Zero123Pipeline],
    spy_on: Callable[..., Any],
    name: str,
    prediction_type: str,
    zero_terminal_snr: bool,
) -> None:
    """Of N(m, s²) the best denoiser is x̂ = m + √ᾱ s² (x − √ᾱ m) / (ᾱ s² + 1 − ᾱ), and its probability flow keeps.

    z = (x − √ᾱ m) / √(ᾱ s² + 1 − ᾱ): the image is m + s z (Song et al. 2021, "Score-based generative modeling", eq. 13).
    """
    mean, spread = 0.7, 0.5
    pipeline = made(name, prediction_type, zero_terminal_snr)

    def best(noisy: Tensor, level: Tensor) -> Tensor:
        variance = level * spread**2 + 1 - level
        return mean + level.sqrt() * spread**2 * (noisy - level.sqrt() * mean) / variance

    spy = spy_on(pipeline.unet, answering(pipeline, best))
    latents = sampled(pipeline, 200)
    level = pipeline.scheduler.alphas_cumprod[int(spy.timesteps[0])]
    first = spy.inputs[0][:, : SHAPE[0]]
    exact = mean + spread * (first - level.sqrt() * mean) / (level * spread**2 + 1 - level).sqrt()
    assert latents.std() == pytest.approx(float(exact.std()), rel=0.02)
    # What is left at 200 steps is, for those of second order too, the last one, which ends in the image at once.
    assert (latents - exact).abs().max() < (0.05 if name in ("ddim", "euler") else 0.02)


@pytest.mark.parametrize("name", ["ddim", "euler_ancestral"])
def test_fresh_noise_draws_from_the_same_gaussian(
    made: Callable[..., Zero123Pipeline], spy_on: Callable[..., Any], name: str
) -> None:
    mean, spread = 0.7, 0.5
    pipeline = made(name, "v_prediction", True)

    def best(noisy: Tensor, level: Tensor) -> Tensor:
        return mean + level.sqrt() * spread**2 * (noisy - level.sqrt() * mean) / (level * spread**2 + 1 - level)

    spy_on(pipeline.unet, answering(pipeline, best))
    latents = sampled(pipeline, 100, eta=1.0)
    # 1,536 numbers: a standard error of 0.013 of the mean, 0.009 of the spread.
    assert latents.mean() == pytest.approx(mean, abs=0.05)
    assert latents.std() == pytest.approx(spread, abs=0.04)


def test_the_originals_fifty_steps_by_hand() -> None:
    # range(0, 1000, 20) + 1 = 1, 21, …, 981; `timesteps[:-1]` leaves 961 as the noisiest.
    assert original_timesteps(50, 1000) == list(range(961, 0, -20))
    assert len(original_timesteps(50, 1000)) == 49


def test_the_originals_seventy_five_steps_are_seventy_six_calls() -> None:
    # 1000 // 75 = 13, and range(0, 1000, 13) has 77 numbers, the last 988.
    timesteps = original_timesteps(75, 1000)
    assert (timesteps[0], timesteps[-1], len(timesteps)) == (976, 1, 76)


@given(st.integers(2, 500))
def test_the_originals_timesteps_end_at_1_and_lack_the_noisiest(steps: int) -> None:
    timesteps = original_timesteps(steps, 1000)
    stride = 1000 // steps
    assert timesteps[-1] == 1
    assert all(before - after == stride for before, after in pairwise(timesteps))
    assert timesteps[0] + stride <= 1000 < timesteps[0] + 2 * stride


@pytest.mark.parametrize("steps", [1, 501, 1000])
def test_steps_that_the_original_cannot_take_are_refused(steps: int) -> None:
    with pytest.raises(InputError, match="take 2 to 500"):
        original_timesteps(steps, 1000)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [10, 75])
def test_a_dropped_first_step_follows_the_original_formula(
    made: Callable[..., Zero123Pipeline], spy_on: Callable[..., Any], steps: int, eta: float
) -> None:
    """Against the sampler's own recursion in double precision, η and ᾱ of the predecessor as in `p_sample_ddim`."""
    pipeline = made("ddim")
    spy_on(pipeline.unet, lambda given, timestep: torch.sin(given[:, : SHAPE[0]] + 0.01 * timestep))
    latents = sampled(pipeline, steps, eta=eta, drop_first_step=True)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    levels = torch.cumprod(1 - betas, 0)
    generator = torch.Generator().manual_seed(0)
    expected = torch.randn(2, *SHAPE, generator=generator).double()
    timesteps = [t + 1 for t in range(0, 1000, 1000 // steps)][:-1]
    for index in reversed(range(len(timesteps))):
        level, before = levels[timesteps[index]], levels[timesteps[index - 1]] if index else levels[0]
        predicted = torch.sin(expected + 0.01 * timesteps[index])
        sigma = eta * ((1 - before) / (1 - level) * (1 - level / before)).sqrt()
        image = (expected - (1 - level).sqrt() * predicted) / level.sqrt()
        fresh = torch.randn(2, *SHAPE, generator=generator) if eta else 0.0
        expected = before.sqrt() * image + (1 - before - sigma**2).sqrt() * predicted + sigma * fresh
    assert torch.allclose(latents.double(), expected, rtol=1e-3, atol=1e-3)


def test_without_the_option_no_step_is_dropped(
    made: Callable[..., Zero123Pipeline], spy_on: Callable[..., Any]
) -> None:
    pipeline = made("ddim")
    spy = spy_on(pipeline.unet)
    sampled(pipeline, 5)
    assert [int(t) for t in spy.timesteps] == [801, 601, 401, 201, 1]


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "ddim"])
def test_only_ddim_drops_a_first_step(made: Callable[..., Zero123Pipeline], name: str) -> None:
    with pytest.raises(InputError, match="drops no first step"):
        sampled(made(name), 5, drop_first_step=True)


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "ddim"])
def test_pure_noise_is_called_pure_noise(
    made: Callable[..., Zero123Pipeline], spy_on: Callable[..., Any], name: str
) -> None:
    pipeline = made(name)
    spy = spy_on(pipeline.unet)
    sampled(pipeline, 5)
    assert int(spy.timesteps[0]) == 999
    assert spy.inputs[0][:, : SHAPE[0]].std() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_outside_the_schedule_are_one_line(made: Callable[..., Zero123Pipeline], steps: int) -> None:
    with pytest.raises(InputError, match="take 1 to 1000"):
        sampled(made("ddim"), steps)


def test_one_step_that_would_begin_at_the_clean_end_is_refused(made: Callable[..., Zero123Pipeline]) -> None:
    with pytest.raises(InputError, match="take 2 steps or more"):
        sampled(made("ddim"), 1)
    assert sampled(made("ddim", "sample", True), 1).isfinite().all()
    assert sampled(made("euler"), 1).isfinite().all()


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match="take ddim, dpm, unipc, euler, euler_ancestral"):
        scheduler_named("plms", DDIMScheduler())  # type: ignore[arg-type]


def test_a_scheduler_of_diffusers_own_making_serves_too(made: Callable[..., Zero123Pipeline]) -> None:
    pipeline = made("ddim")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    assert sampled(pipeline, 3).isfinite().all()


def test_a_scheduler_and_back_is_the_same_scheduler(made: Callable[..., Zero123Pipeline]) -> None:
    before = made("ddim", "sample", True).scheduler
    after = scheduler_named("ddim", scheduler_named("euler", before))
    assert torch.equal(before.alphas_cumprod, after.alphas_cumprod)
    assert after.config.prediction_type == "sample"
    assert start(after, 8, torch.device("cpu")).tolist() == start(before, 8, torch.device("cpu")).tolist()


def test_a_generator_for_each_row_makes_rows_independent() -> None:
    together = noise((2, 3), [torch.Generator().manual_seed(seed) for seed in (5, 6)])
    assert torch.equal(together[1:], noise((1, 3), [torch.Generator().manual_seed(6)]))
    with pytest.raises(InputError, match="2 generators for 3 pictures"):
        noise((3, 1), [torch.Generator()] * 2)
