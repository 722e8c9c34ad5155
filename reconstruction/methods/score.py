"""What a denoiser tells a rendered picture: gradients of SJC and SDS, pure functions of tensors.

A schedule gives ᾱ_t. A picture x (a latent, as the denoiser knows them) is noised to x_t = √ᾱ_t·x + √(1−ᾱ_t)·ε, and the
denoiser predicts ε̂. With σ_t = √((1−ᾱ_t)/ᾱ_t) the same picture is z = x_t/√ᾱ_t = x + σ_t·ε in the variance-exploding form, and
the denoised picture is D = z − σ_t·ε̂.

- SDS (Poole et al. 2022, eq. 3; threestudio `zero123_guidance.py`): g = w(t)·(ε̂ − ε), with w(t) = 1 − ᾱ_t.
- SJC's PAAS (Wang et al. 2023, section 4; cvlab-columbia/zero123 `3drec/run_zero123.py`): the picture ascends (D − z)/σ, or with
  its variance reduced, by the noise whose mean is zero, (D − x)/σ.

Since D − x = σ·(ε − ε̂), the latter is ε − ε̂: variance-reduced SJC is SDS with w = 1, under another schedule of noise. What both
expect of Gaussian data N(μ, s²) is −g = w'·(μ − x) with w' = σ/(s² + σ²), which is 0 at the mode and nowhere else.

All gradients here are to be descended: they point away from what the prior wants, like ∂loss/∂x.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def per_row(values: Float[Tensor, " b"], like: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *ones"]:
    """A number for each row, in a shape that multiplies the rows."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))


def noised(
    latents: Float[Tensor, "b *shape"],
    noise: Float[Tensor, "b *shape"],
    alphas_cumprod: Float[Tensor, " b"],
) -> Float[Tensor, "b *shape"]:
    """x_t = √ᾱ·x + √(1−ᾱ)·ε, which is what the denoiser is shown.

    Args:
        latents: x.
        noise: ε, standard normal.
        alphas_cumprod: ᾱ at the timestep of each row.
    """
    kept = per_row(alphas_cumprod, latents)
    return kept.sqrt() * latents + (1.0 - kept).sqrt() * noise


def noise_level(alphas_cumprod: Float[Tensor, " *n"]) -> Float[Tensor, " *n"]:
    """σ = √((1−ᾱ)/ᾱ), the standard deviation of noise on a picture that is not shrunk."""
    return ((1.0 - alphas_cumprod) / alphas_cumprod).sqrt()


def denoised(
    latents: Float[Tensor, "b *shape"],
    noise: Float[Tensor, "b *shape"],
    predicted: Float[Tensor, "b *shape"],
    alphas_cumprod: Float[Tensor, " b"],
) -> Float[Tensor, "b *shape"]:
    """D = x + σ·(ε − ε̂), the picture that the denoiser sees in the noised one."""
    return latents + per_row(noise_level(alphas_cumprod), latents) * (noise - predicted)


def sjc_gradient(
    latents: Float[Tensor, "b *shape"],
    noise: Float[Tensor, "b *shape"],
    predicted: Float[Tensor, "b *shape"],
    alphas_cumprod: Float[Tensor, " b"],
    variance_reduction: bool = True,
) -> Float[Tensor, "b *shape"]:
    """−(D − x)/σ, or −(D − z)/σ without variance reduction, whose mean over the noise is the same.

    Args:
        latents: x, as rendered.
        noise: ε.
        predicted: ε̂ of the denoiser, under guidance.
        alphas_cumprod: ᾱ at the timestep of each row.
        variance_reduction: subtract the noise that was added, as published.
    """
    sigma = per_row(noise_level(alphas_cumprod), latents)
    seen = latents if variance_reduction else latents + sigma * noise
    return (seen - denoised(latents, noise, predicted, alphas_cumprod)) / sigma


def sds_gradient(
    noise: Float[Tensor, "b *shape"],
    predicted: Float[Tensor, "b *shape"],
    weights: Float[Tensor, " b"],
) -> Float[Tensor, "b *shape"]:
    """w(t)·(ε̂ − ε); what is not finite counts as nothing, as published.

    Args:
        noise: ε.
        predicted: ε̂ of the denoiser, under guidance.
        weights: w(t) of each row, such as `sds_weights`.
    """
    return torch.nan_to_num(per_row(weights, noise) * (predicted - noise))


def sds_weights(alphas_cumprod: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """w(t) = 1 − ᾱ_t, which is σ_t² of the variance-preserving form (threestudio `zero123_guidance.py`)."""
    return 1.0 - alphas_cumprod


def with_gradient(latents: Float[Tensor, "b *shape"], gradient: Float[Tensor, "b *shape"]) -> Float[Tensor, ""]:
    """A loss whose derivative by the latents is the gradient divided by the rows: ½‖x − stop(x − g)‖²/b.

    Its value, ½‖g‖²/b, tells how far prior and picture disagree; noise keeps it from going to zero.
    """
    target = (latents - gradient).detach()
    return 0.5 * (latents - target).square().sum() / len(latents)


def at_timesteps(alphas_cumprod: Float[Tensor, " t"], timesteps: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """ᾱ at each timestep."""
    return alphas_cumprod.to(timesteps.device)[timesteps]
