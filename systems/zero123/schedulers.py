"""The samplers' schedules: diffusers' classes by name, and the steps they take, whatever the class.

All of them follow the schedule that the model was trained with; `scheduler_named` keeps it. Their traps are met here: a
schedule that ends in pure noise, DDIM's stride, predictions that a class does not know, the original sampler's timesteps.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from jaxtyping import Float, Num
from torch import Generator, Tensor

from stage.errors import InputError
from systems.zero123.parameters import SchedulerName

Generators: TypeAlias = Generator | Sequence[Generator] | None
Draw: TypeAlias = Callable[[Sequence[int], Generators], Tensor]
"""Draws noise of a shape."""


class EulerAncestral(EulerAncestralDiscreteScheduler):
    """diffusers' ancestral Euler steps, for denoisers that predict the sample too, which its own class refuses."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Any:  # noqa: ANN401 - as the parent's
        """One step; see diffusers."""
        if self.config.prediction_type != "sample":
            return super().step(model_output, timestep, sample, generator, return_dict)
        if self.step_index is None:
            self._init_step_index(timestep)
        sigma = self.sigmas[self.step_index]
        # The velocity of which the parent's formula makes this sample again, exact where σ is large, unlike the noise.
        velocity = (sample / (sigma**2 + 1) - model_output) * (sigma**2 + 1) ** 0.5 / sigma
        self.register_to_config(prediction_type="v_prediction")
        try:
            return super().step(velocity, timestep, sample, generator, return_dict)
        finally:
            self.register_to_config(prediction_type="sample")


SCHEDULERS: dict[SchedulerName, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestral,
}
"""Song et al. 2021; Lu et al. 2022 (DPM-Solver++ 2M); Zhao et al. 2023; Karras et al. 2022, algorithm 2 without churn, and
the same with fresh noise."""


def scheduler_named(name: SchedulerName, like: SchedulerMixin) -> SchedulerMixin:
    """A scheduler of another class with the schedule and prediction type of a given one.

    DDIM keeps the spacing of timesteps; the others start at the noisiest timestep (`trailing`), since the noise that they
    start from is that of the last. Published spacing (`leading`) would tell the model of less noise than there is.

    Raises:
        InputError: when there is none of that name.
    """
    if name not in SCHEDULERS:
        raise InputError(f"no scheduler {name}", f"take {', '.join(SCHEDULERS)}")
    spacing = {} if name == "ddim" else {"timestep_spacing": "trailing"}
    return SCHEDULERS[name].from_config(like.config, **spacing)


def original_timesteps(steps: int, trained: int) -> list[int]:
    """The timesteps of the original DDIM sampler when asked for a number of steps, noisiest first.

    Those of latent diffusion, range(0, T, T // steps) + 1, without the noisiest: `timesteps[:t_start]` with t_start = −1
    (cvlab-columbia/zero123 `ldm/models/diffusion/ddim.py` `ddim_sampling`). So 50 steps are 49 calls of the model, which
    begin with pure noise at timestep 961; 75 steps are 76 calls, for 75 divides no 1000 and the range has 77.

    Raises:
        InputError: for so many steps that the range leaves the schedule, where the original fails too.
    """
    stride = trained // steps
    if stride < 2 or steps < 2:
        raise InputError(
            f"the original sampler has no {steps} steps of {trained} timesteps",
            f"take 2 to {trained // 2}, or leave drop_first_step off",
        )
    return [t + 1 for t in range(0, trained, stride)][-2::-1]


def start(
    scheduler: SchedulerMixin, steps: int, device: torch.device, drop_first_step: bool = False
) -> Num[Tensor, " s"]:
    """Set a scheduler's timesteps; they, noisiest first.

    Args:
        scheduler: any of `SCHEDULERS`.
        steps: as many steps, up to the training's timesteps.
        device: where the denoiser is.
        drop_first_step: take `original_timesteps`; DDIM only.

    Raises:
        InputError: when the steps do not fit.
    """
    trained = int(scheduler.config.num_train_timesteps)
    if not 1 <= steps <= trained:
        raise InputError(f"{steps} sampling steps of {trained} timesteps", f"take 1 to {trained}")
    if steps == 1 and scheduler.config.timestep_spacing == "leading":
        raise InputError("a single leading timestep is the cleanest, not the noisiest", "take 2 steps or more")
    scheduler.set_timesteps(steps, device=device)
    if drop_first_step:
        if not isinstance(scheduler, DDIMScheduler):
            raise InputError(f"{type(scheduler).__name__} drops no first step", "take DDIM, whose original does")
        scheduler.timesteps = torch.tensor(original_timesteps(steps, trained), device=device)
    return scheduler.timesteps


def noise(shape: Sequence[int], generator: Generators) -> Float[Tensor, "n *rest"]:
    """Standard normal numbers of the CPU, so that devices agree; with a generator for each row, rows do not depend on others.

    Raises:
        InputError: when there is not one generator a row.
    """
    if not isinstance(generator, Sequence):
        return torch.randn(tuple(shape), generator=generator)
    if len(generator) != shape[0]:
        raise InputError(f"{len(generator)} generators for {shape[0]} pictures", "give one, or one for each picture")
    return torch.cat([torch.randn((1, *shape[1:]), generator=g) for g in generator])


def advance(
    scheduler: SchedulerMixin,
    prediction: Float[Tensor, "n *rest"],
    timestep: Num[Tensor, ""],
    latents: Float[Tensor, "n *rest"],
    eta: float,
    generator: Generators,
    draw: Draw = noise,
) -> Float[Tensor, "n *rest"]:
    """The latents after a step.

    Args:
        scheduler: any of `SCHEDULERS`, started.
        prediction: of the denoiser.
        timestep: of these latents.
        latents: as the scheduler scales them.
        eta: DDIM's share of fresh noise; others have none.
        generator: of fresh noise.
        draw: what draws DDIM's.
    """
    if isinstance(scheduler, DDIMScheduler):
        return _ddim(scheduler, prediction, timestep, latents, eta, generator, draw)
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if takes_noise else {}
    return scheduler.step(prediction, timestep, latents, **options).prev_sample


def _ddim(
    scheduler: DDIMScheduler,
    prediction: Float[Tensor, "n *rest"],
    timestep: Num[Tensor, ""],
    latents: Float[Tensor, "n *rest"],
    eta: float,
    generator: Generators,
    draw: Draw,
) -> Float[Tensor, "n *rest"]:
    # From pure noise fresh noise changes nothing, and DDIM's variance would be 0/0 there.
    share = eta if scheduler.alphas_cumprod[int(timestep)] > 0 else 0.0
    fresh = draw(latents.shape, generator).to(latents) if share > 0 else None
    steps = scheduler.num_inference_steps
    if timestep == scheduler.timesteps[-1]:
        # diffusers subtracts T // steps from the timestep: where steps do not divide T, the last would end before the image.
        scheduler.num_inference_steps = 1
    stepped = scheduler.step(prediction, timestep, latents, eta=share, variance_noise=fresh).prev_sample
    scheduler.num_inference_steps = steps
    return stepped
