"""The noise schedule of Zero-1-to-G and the weights that its timesteps have in the loss.

One `DDIMScheduler` serves training, which takes noise and velocities from it, and sampling. Its betas, alphas and their products
follow from its configuration, so that they agree, saved and loaded too. The released code rescales `betas` of a scheduler that is
there already and leaves `alphas_cumprod`, from which everything is computed (mengxuyiGit/Wonder3D, branch sep_30_jgu,
`train_mvdiffusion_joint_splatter.py`): it trains with the schedule that it means to replace. `check_schedule` refuses such a one.
"""

from typing import TypeAlias

import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from jaxtyping import Float, Int
from torch import Tensor

from stage.errors import InputError
from systems.zero123.modules import ScheduleParameters, build_scheduler

Timesteps: TypeAlias = Int[Tensor, "*shape"]


def build_schedule(parameters: ScheduleParameters) -> DDIMScheduler:
    """Stable Diffusion's schedule, rescaled to end in pure noise where the parameters say so (Lin et al. 2024, algorithm 1)."""
    scheduler = build_scheduler(parameters)
    check_schedule(scheduler)
    return scheduler


def check_schedule(scheduler: DDIMScheduler) -> None:
    """Refuse a schedule that contradicts itself.

    Raises:
        InputError: when its alphas are not 1 − beta, or their products not `alphas_cumprod`.
    """
    alphas = 1.0 - scheduler.betas
    products = torch.cumprod(alphas, dim=0)
    if not (torch.equal(alphas, scheduler.alphas) and torch.equal(products, scheduler.alphas_cumprod)):
        worst = int((products - scheduler.alphas_cumprod).abs().argmax())
        raise InputError(
            f"the schedule's alphas_cumprod is {float(scheduler.alphas_cumprod[worst]):.4g} at timestep {worst} "
            f"where its betas make {float(products[worst]):.4g}",
            "make a scheduler from a configuration, with rescale_betas_zero_snr for a terminal SNR of 0",
        )


def min_snr_weights(scheduler: DDIMScheduler, timesteps: Timesteps, gamma: float) -> Float[Tensor, "*shape"]:
    """Weights of squared errors by which all prediction types descend min(SNR, γ) times the clean sample's squared error.

    SNR = ᾱ / (1 − ᾱ). Sample: min(SNR, γ); epsilon: min(SNR, γ) / SNR; v: min(SNR, γ) / (SNR + 1) (Hang et al. 2023,
    section 3.4). All are finite where a schedule ends at SNR 0: there epsilon's weight is 1, its limit, and the others' is 0, so
    that pure noise itself teaches nothing and the timesteps before it little.

    Args:
        scheduler: schedule and prediction type.
        timesteps: of the samples.
        gamma: γ; 5 as published.
    """
    snr = compute_snr(scheduler, timesteps)
    match scheduler.config.prediction_type:
        case "epsilon":
            # min(SNR, γ) / SNR without its 0 / 0.
            return gamma / snr.clamp(min=gamma)
        case "v_prediction":
            return snr.clamp(max=gamma) / (snr + 1.0)
        case "sample":
            return snr.clamp(max=gamma)
    raise ValueError(f"no min-SNR weights for prediction type {scheduler.config.prediction_type}")
