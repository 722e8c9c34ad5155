"""Pictures sampled in the course of a training, beside what they were made from and what they should be.

Sampling changes neither a weight nor a random number of the training: averaged weights are put in place and the trained ones
back, bit for bit, and the noise has a seed of its own.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from geometry.picture_metrics import psnr
from stage.files import replacing
from stage.seeds import derive_seed
from systems.trainable import TrainableSystem
from training.parameters import TrainParameters
from training.sample_pairs import SamplePairs

_ROWS = ("input", "target", "prediction")
_SMALLEST = 96
_GAP, _MARGIN, _LINE = 4, 78, 18
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


@dataclass(frozen=True)
class Sampled:
    """What was sampled after a step."""

    path: Path
    """PNG file with rows of inputs, targets and predictions."""
    psnr: float
    """Of the predictions, dB; the mean over the pairs."""


class SampleGrid:
    """Samples the same pairs again and again.

    Args:
        parameters: the run.
        seed: the run's.
        system: what is trained.
        pairs: what is sampled.
        folder: where the pictures go.
    """

    def __init__(
        self,
        parameters: TrainParameters,
        seed: int,
        system: TrainableSystem,
        pairs: SamplePairs,
        folder: Path,
    ) -> None:
        self._parameters, self._system = parameters, system
        self._pairs, self._folder = pairs, folder
        self._seeds = [derive_seed(seed, uid, "sample noise") for uid in pairs.views.uids]
        self.name = f"samples_{pairs.split}"

    def due(self, step: int) -> bool:
        """Whether pictures are sampled after a step, counted from 1."""
        every = self._parameters.samples.every
        return every is not None and (step % every == 0 or step == self._parameters.steps)

    def sample(self, step: int, averaged: AbstractContextManager[None]) -> Sampled:
        """Sample after a step.

        Args:
            step: its number, for name and title.
            averaged: puts the moving average of the weights in place for as long as it is entered.
        """
        *_, target, condition = on_white(self._pairs.views.rgba).unbind(1)
        predicted = self._predicted(averaged).permute(0, 2, 3, 1).numpy()
        path = self._folder / f"step-{step:08d}.png"
        grid = drawn(condition, target, predicted, f"step {step}, {self._pairs.split}")
        with replacing(path) as temporary:
            grid.save(temporary, "PNG")
        return Sampled(
            path, float(np.mean([psnr(one, other) for one, other in zip(predicted, target.numpy(), strict=True)]))
        )

    def _predicted(self, averaged: AbstractContextManager[None]) -> Float[Tensor, "b 3 h w"]:
        samples, device = self._parameters.samples, next(self._system.parameters()).device
        training = {module: module.training for module in self._system.modules()}
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), averaged:
            self._system.eval()
            views = self._pairs.views
            batch = self._system.batch(replace(views, rgba=views.rgba.to(device)))
            predicted = self._system.predict(batch, self._seeds, samples.inference_steps, samples.guidance_scale)
        for module, mode in training.items():
            module.training = mode
        return predicted.float().cpu()


def on_white(rgba: Tensor) -> Float[Tensor, "... 3"]:
    """Pictures of bytes with straight alpha as colours in [0, 1] on white."""
    values = rgba.float() / 255.0
    return values[..., :3] * values[..., 3:] + (1.0 - values[..., 3:])


def drawn(
    condition: Float[Tensor, "b h w 3"],
    target: Float[Tensor, "b h w 3"],
    predicted: Float[np.ndarray, "b h w 3"],
    title: str,
) -> Image.Image:
    """Rows of inputs, targets and predictions, a column a pair."""
    pictures = [[_tile(picture) for picture in np.asarray(row)] for row in (condition, target, predicted)]
    side, count = pictures[0][0].width, len(pictures[0])
    sheet = Image.new("RGB", (_MARGIN + count * (side + _GAP), _LINE + len(pictures) * (side + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((_MARGIN, 1), title, fill=_INK, font=font)
    for row, (label, tiles) in enumerate(zip(_ROWS, pictures, strict=True)):
        top = _LINE + row * (side + _GAP)
        draw.text((4, top + side // 2 - 8), label, fill=_INK, font=font)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (_MARGIN + column * (side + _GAP), top))
    return sheet


def _tile(picture: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """A picture, small ones enlarged by a whole factor."""
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    factor = -(-_SMALLEST // image.width)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
