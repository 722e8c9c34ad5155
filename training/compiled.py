"""Whether a compiled denoiser is the one that was written: its loss and gradients beside those without compilation.

`torch.compile` has turned losses of this network into NaN (kxhit/zero123-hf, README), so a training whose compiled first batch
differs ends before its first step. It does not fall back: the same parameters would be fast on one machine and slow on another.
"""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from geometry.cameras import look_at_origin
from stage.errors import ViewforgeError
from systems.trainable import TrainableSystem, Views


@dataclass(frozen=True)
class CompiledDifference:
    """How far compiled results are from those without, relative; NaN where something is not finite."""

    loss: float
    """|compiled − eager| / |eager|."""
    gradients: float
    """The same of the gradients of all trained parameters, in the Euclidean norm."""

    def within(self, tolerance: float) -> bool:
        """Whether both are; NaN never is."""
        return self.loss <= tolerance and self.gradients <= tolerance


def check_compiled(
    system: TrainableSystem, accelerator: Accelerator, size: int, samples: int, views: int, tolerance: float
) -> CompiledDifference:
    """Compare the compiled loss and gradients of one batch of noise with those without compilation.

    Args:
        system: with a compiled denoiser; moved to the accelerator's device.
        accelerator: device and number format.
        size: width and height of the training pictures, pixels.
        samples: of a batch of one process, so that the kernels are the training's own.
        views: of a sample.
        tolerance: largest relative difference.

    Raises:
        ViewforgeError: when they differ by more, or are not finite.
    """
    difference = compiled_difference(system, accelerator, size, samples, views)
    if not difference.within(tolerance):
        raise ViewforgeError(
            f"the compiled denoiser's loss is off by {difference.loss:.2g} and its gradients by {difference.gradients:.2g} "
            f"of what they are without compilation, more than train.hardware.compile_tolerance = {tolerance:g}",
            "set train.hardware.compile to null",
        )
    return difference


def compiled_difference(
    system: TrainableSystem, accelerator: Accelerator, size: int, samples: int, views: int
) -> CompiledDifference:
    """The comparison of `check_compiled`; no gradient is left behind."""
    system.to(accelerator.device).train()
    with torch.compiler.set_stance("force_eager"):
        eager_loss, eager = _loss_and_gradients(system, accelerator, size, samples, views)
    loss, gradients = _loss_and_gradients(system, accelerator, size, samples, views)
    pairs = list(zip(gradients, eager, strict=True))
    off = sum(float((one - other).double().square().sum()) for one, other in pairs)
    whole = sum(float(other.double().square().sum()) for other in eager)
    return CompiledDifference(abs(loss - eager_loss) / abs(eager_loss), (off / whole) ** 0.5)


def _loss_and_gradients(
    system: TrainableSystem, accelerator: Accelerator, size: int, samples: int, views: int
) -> tuple[float, list[Tensor]]:
    batch = system.batch(_noise(size, samples, views, accelerator.device))
    with accelerator.autocast():
        loss = system(batch, system.draw(range(samples)).to(accelerator.device)).loss
    loss.backward()
    gradients = [p.grad for p in system.parameters() if p.grad is not None]
    system.zero_grad(set_to_none=True)
    return float(loss.detach()), gradients


def _noise(size: int, samples: int, views: int, device: torch.device) -> Views:
    """Pictures of noise, and cameras all around."""
    chance = np.random.default_rng(0)
    rgba = chance.integers(0, 256, (samples, views, size, size, 4), dtype=np.uint8)
    angles = chance.uniform([0.1, 0.0], [np.pi - 0.1, 2 * np.pi], (samples * views, 2))
    c2w = np.stack([look_at_origin(polar, azimuth, 2.0) for polar, azimuth in angles])
    return Views(
        uids=("noise",) * samples,
        numbers=np.tile(np.arange(views), (samples, 1)),
        rgba=torch.from_numpy(rgba).to(device),
        c2w=torch.from_numpy(c2w.reshape(samples, views, 4, 4)).float(),
        intrinsics=torch.tensor([size, size, size / 2, size / 2]).expand(samples, views, 4),
        scales=torch.ones(samples, views, 3),
    )
