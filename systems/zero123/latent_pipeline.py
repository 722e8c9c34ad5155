"""What pipelines that denoise a VAE's latents share: pictures in, the steps of a sampler, batches of bounded size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from PIL import Image
from torch import Tensor

from stage.errors import InputError
from systems.object_pipeline import ObjectPipeline, Pictures
from systems.zero123.compositing import picture_tensor
from systems.zero123.parameters import Background
from systems.zero123.sampler_options import CALLBACK_INPUTS, SamplerOptions
from systems.zero123.schedulers import Draw, advance, noise, start


class LatentPipeline(ObjectPipeline):
    """A diffusers pipeline with a `unet`, a `vae` and a `scheduler`."""

    _callback_tensor_inputs = CALLBACK_INPUTS
    _interrupt = False

    @property
    def image_size(self) -> int:
        """Width and height of the images that the pipeline was trained on, pixels."""
        return int(self.unet.config.sample_size * self._factor)

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked to leave out the remaining steps, by setting `_interrupt`."""
        return self._interrupt

    @property
    def _factor(self) -> int:
        """Pixels per latent, along a side."""
        blocks = getattr(self.vae.config, "block_out_channels", None)
        return int(2 ** (len(blocks) - 1) if blocks else self.vae.config.factor)

    def _denoised(
        self,
        latents: Float[Tensor, "k *shape"],
        options: SamplerOptions,
        predict: Callable[[Float[Tensor, "k *shape"], Num[Tensor, ""]], Float[Tensor, "k *shape"]],
        draw: Draw = noise,
    ) -> Float[Tensor, "k *shape"]:
        """The latents at the end of all steps.

        Args:
            latents: pure noise.
            options: of the sampler.
            predict: the denoiser's prediction of latents as the scheduler scales them, at a timestep.
            draw: what draws DDIM's fresh noise.
        """
        self._interrupt = False
        steps, drop_first = options.num_inference_steps, options.drop_first_step
        timesteps = start(self.scheduler, steps, self._execution_device, drop_first)
        # Only now the scheduler knows how it scales noise for these steps.
        latents = latents * self.scheduler.init_noise_sigma
        for step, timestep in enumerate(self.progress_bar(timesteps)):
            if self._interrupt:
                continue
            prediction = predict(self.scheduler.scale_model_input(latents, timestep), timestep)
            latents = advance(self.scheduler, prediction, timestep, latents, options.eta, options.generator, draw)
            if options.callback_on_step_end is not None:
                inputs = dict.fromkeys(options.callback_on_step_end_tensor_inputs, latents)
                latents = (options.callback_on_step_end(self, step, timestep, inputs) or {}).get("latents", latents)
        return latents

    def _noise(self, shape: Sequence[int], options: SamplerOptions, like: Tensor) -> Float[Tensor, "k *shape"]:
        """The standard normal numbers that sampling starts from: those that are given, or drawn."""
        latents = options.latents
        if latents is not None and latents.shape != tuple(shape):
            raise InputError(f"latents have shape {tuple(latents.shape)}", f"give {tuple(shape)}")
        drawn = noise(shape, options.generator) if latents is None else latents
        return drawn.to(like)

    def _tensor(self, images: Pictures, background: Background) -> Float[Tensor, "m 3 h w"]:
        if isinstance(images, Tensor):
            return images
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        if not pictures or not all(isinstance(picture, Image.Image) for picture in pictures):
            raise InputError("the input is neither a tensor nor PIL images", "give a tensor (n, 3, height, width)")
        return torch.stack(self._pictures([self.framed(picture) for picture in pictures], background))

    def _pictures(self, framed: Sequence[Image.Image], background: Background) -> list[Float[Tensor, "3 h w"]]:
        """Framed PIL images as the system is shown them."""
        size = (self.image_size,) * 2 if self.unet.config.sample_size else framed[0].size
        return [picture_tensor(picture, size, background) for picture in framed]


@dataclass(frozen=True)
class Rows:
    """What a call makes, some at a time."""

    count: int
    size: int | None

    def __iter__(self) -> Iterator[slice]:
        size = self.size or self.count
        return (slice(first, first + size) for first in range(0, self.count, size))

    def split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """As large parts of a tensor of any length."""
        return tensor.split(self.size or len(tensor))
