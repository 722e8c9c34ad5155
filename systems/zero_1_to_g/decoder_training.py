"""The stage `decoder`: the autoencoder's decoder learns splatter images, through the rasteriser.

Ground-truth splatter images, as attribute images in the input's frame, go through the frozen encoder (the posterior's mode, each
image by itself: `independent_encode_mv`) and the decoder; what comes out is held against them, and the pictures of its Gaussians
against true pictures. Source: mengxuyiGit/LGM, `main_zero123plus_v5_batch_marigold_finetune_decoder_accumulate.py`,
`--finetune_decoder`.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Generator, Tensor, nn

from geometry.attribute_tensors import decode_attributes, encode_channels, gaussians_of, turned
from geometry.gaussian_tensors import GaussianTensors
from geometry.perceptual import Unavailable, find_lpips_network
from geometry.rasterizer import rasterize
from stage.errors import InputError, ParameterError
from systems.trainable import Stateful, StepLoss, TrainableSystem, Views
from systems.zero_1_to_g.camera_embedding import elevation_and_azimuth
from systems.zero_1_to_g.modules import first_modules
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.pipeline import pipeline_of
from systems.zero_1_to_g.splatter_loss import (
    Supervision,
    rendering_error,
    splatter_error,
    supervision_of,
    uses_geometry,
)
from systems.zero_1_to_g.stand_in import with_splatters


@dataclass(frozen=True, eq=False)
class DecoderBatch:
    """Splatter images of b objects and what is to be seen of them."""

    attributes: Float[Tensor, "b v 5 3 y x"]
    """In [−1, 1], of Gaussians in the input's frame."""
    azimuth: Float[Tensor, " b"]
    """Of the input cameras in the scene's frame, radians."""
    supervision: tuple[Supervision, ...]
    """Of each object, in the scene's frame."""


@dataclass(frozen=True)
class Backgrounds:
    """The random numbers of a batch: RGB in [0, 1], on which the pictures of each sample are composited."""

    colours: Float[Tensor, "b 3"]

    def to(self, device: torch.device) -> "Backgrounds":
        """The same on a device."""
        return Backgrounds(self.colours.to(device))


@dataclass
class Course:
    """How far a training is."""

    steps: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Its steps."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.steps = int(state["steps"])


class Zero1ToGDecoder(TrainableSystem):
    """The trainable system; its forward pass returns the loss, so that distributed wrappers see every gradient.

    Args:
        parameters: the autoencoder's folder and the losses, of the stage `decoder`.
        seed: of new weights.

    Raises:
        InputError: when the folder's modules cannot be had, or its autoencoder has no decoder to train.
    """

    def __init__(self, parameters: Zero1ToGParameters, seed: int) -> None:
        super().__init__()
        self.chosen, self._seed = parameters, seed
        # The others are not needed before the end, and a denoiser takes gigabytes.
        self.vae = first_modules(parameters, seed).vae
        self.vae.requires_grad_(False)
        for part in decoding_parts(self.vae):
            part.requires_grad_(True)
        self.lpips = _lpips(parameters.decoder_loss.lpips)
        self._course = Course()

    def forward(self, batch: DecoderBatch, draws: Backgrounds) -> StepLoss:
        """The loss of a batch."""
        images = self.decoded(batch.attributes)
        # The rasteriser computes in float32.
        with torch.autocast(images.device.type, enabled=False):
            errors = torch.stack([self._error(images, batch, draws, sample) for sample in range(len(images))])
        return StepLoss(
            errors.mean(), errors.detach(), torch.zeros(len(errors), dtype=torch.long, device=errors.device)
        )

    @property
    def timesteps_total(self) -> int:
        """There is no diffusion: all samples are of one time."""
        return 1

    @property
    def denoiser(self) -> nn.Module:
        """The network of which a part is trained."""
        return self.vae

    def batch(self, views: Views) -> DecoderBatch:
        """A batch from views with splatter images, the condition last; where there is no other view it is what supervises.

        Raises:
            InputError: when there are no splatter images.
        """
        if views.splatters is None:
            raise InputError(
                "the samples have no splatter images",
                "run viewforge splatter, and shard with shard.include: [splatter]",
            )
        _, azimuth = elevation_and_azimuth(views.c2w[:, -1].float())
        azimuth = azimuth.to(views.rgba.device)
        channels = views.splatters.channels.float()
        in_input_frame = turned(channels, -azimuth[:, None].expand(channels.shape[:2]))
        shown = slice(-1) if views.rgba.shape[1] > 1 else slice(None)
        supervision = (
            supervision_of(*(part[shown] for part in sample))
            for sample in zip(views.rgba, views.c2w, views.intrinsics, strict=True)
        )
        return DecoderBatch(encode_channels(in_input_frame, self.chosen.ranges), azimuth, tuple(supervision))

    def stand_in(self, views: Views) -> DecoderBatch:
        """A batch of the shapes that `batch` gives, from pictures alone."""
        return self.batch(with_splatters(views, len(self.chosen.layout.azimuths_deg)))

    def draw(self, seeds: Sequence[int]) -> Backgrounds:
        """The background of each sample, uniform in RGB, from its own seed."""
        return Backgrounds(torch.stack([torch.rand(3, generator=Generator().manual_seed(seed)) for seed in seeds]))

    @torch.no_grad()
    def predict(
        self,
        batch: DecoderBatch,
        seeds: Sequence[int],  # noqa: ARG002 - nothing is sampled
        steps: int,  # noqa: ARG002 - likewise
        guidance_scale: float,  # noqa: ARG002 - likewise
    ) -> Float[Tensor, "b 3 h w"]:
        """Each object's decoded Gaussians from its first supervising camera: pictures in [0, 1] on white, on the CPU."""
        pairs = zip(self.reconstructed(batch), batch.supervision, strict=True)
        made = [rasterize(gaussians, seen.c2w[:1], seen.intrinsics[:1]).rgb for gaussians, seen in pairs]
        return torch.cat(made).permute(0, 3, 1, 2).clamp(0.0, 1.0).cpu()

    @torch.no_grad()
    def reconstructed(self, batch: DecoderBatch) -> list[GaussianTensors]:
        """The Gaussians of each object of a batch after encoder and decoder, in the scene's frame."""
        images = self.decoded(batch.attributes)
        return [self._gaussians(*pair) for pair in zip(images, batch.azimuth, strict=True)]

    def decoded(self, attributes: Float[Tensor, "b v 5 3 y x"]) -> Float[Tensor, "b v 5 3 y x"]:
        """Attribute images through encoder and decoder; values may leave [−1, 1]."""
        # Its forward pass is that of the posterior's mode; frozen parts of it leave nothing for the backward pass.
        images: Tensor = self.vae(attributes.flatten(0, 2)).sample
        return images.float().unflatten(0, attributes.shape[:3])

    def parameter_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """The decoder, with the convolution before it."""
        return {"decoder": [parameter for parameter in self.vae.parameters() if parameter.requires_grad]}

    def stepped(self, steps: int, averages: Callable[[], Mapping[str, Tensor]]) -> None:  # noqa: ARG002 - of others
        """Count the steps, which decide when normals and depth count."""
        self._course.steps = steps

    def states(self) -> Mapping[str, Stateful]:
        """The number of steps."""
        return {"course": self._course}

    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors: the modules it began with, and this autoencoder."""
        modules = replace(first_modules(self.chosen, self._seed), vae=self.vae)
        pipeline_of(modules, self.chosen).save_pretrained(folder, safe_serialization=True)

    def _error(
        self, images: Float[Tensor, "b v 5 3 y x"], batch: DecoderBatch, draws: Backgrounds, sample: int
    ) -> Float[Tensor, ""]:
        weights, azimuth = self.chosen.decoder_loss, batch.azimuth[sample]
        made, true = images[sample], batch.attributes[sample]
        gaussians = self._gaussians(made, azimuth)
        geometry = self._gaussians(true, azimuth) if uses_geometry(weights, self._course.steps) else None
        rendering = rendering_error(
            gaussians, geometry, batch.supervision[sample], draws.colours[sample], weights, self.lpips
        )
        return weights.splatter * splatter_error(made, true, weights) + rendering

    def _gaussians(self, images: Float[Tensor, "v 5 3 y x"], azimuth: Float[Tensor, ""]) -> GaussianTensors:
        """In the scene's frame."""
        channels = decode_attributes(images, self.chosen.ranges)
        return gaussians_of(turned(channels, azimuth.expand(len(channels))))


def decoding_parts(vae: nn.Module) -> list[nn.Module]:
    """The parts of an autoencoder that latents go through: its decoder, and the convolution before it where there is one.

    Raises:
        ParameterError: when it has no weights to train.
    """
    if not isinstance(vae, AutoencoderKL):
        raise ParameterError(
            f"train.zero_1_to_g.stage: a {type(vae).__name__} has no decoder to train",
            "set pretrained to a folder with an AutoencoderKL, or train the stage autoencoder first",
        )
    return [vae.decoder, *([vae.post_quant_conv] if vae.post_quant_conv is not None else [])]


def _lpips(weight: float) -> Any | None:  # noqa: ANN401 - the network of a package that may be absent
    """The network of LPIPS, frozen, where it takes part and is installed."""
    if not weight:
        return None
    network = find_lpips_network()
    if isinstance(network, Unavailable):
        print(f"train: LPIPS is {network}; the decoder learns without it", file=sys.stderr, flush=True)
        return None
    return network.requires_grad_(False)
