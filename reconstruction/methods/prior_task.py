"""What all optimisations of a field against a prior share: the input view, draws, the prior's answer, previews."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Generator, Tensor, nn

from blender_render.camera_sets import View
from geometry.cameras import look_at_origin
from reconstruction.fields.field import Field
from reconstruction.marching.occupancy import OccupancyGrid
from reconstruction.methods.camera_sampling import sized, spherical_of
from reconstruction.methods.input_view import InputView
from reconstruction.methods.score import at_timesteps, noised
from reconstruction.methods.showing import Shown, show
from reconstruction.optimisation.fingerprint import digest
from reconstruction.optimisation.parameters import LoopParameters
from reconstruction.priors.prior import Prior
from stage.parameters import Parameters
from stage.seeds import derive_seed

_PREVIEW_SIZE = 64
# As nerfacc's estimator, which threestudio marches with.
_OCCUPANCY_EVERY = 16
_PREVIEW_TURNS = (0.0, 0.5 * np.pi, np.pi, 1.5 * np.pi)


@dataclass(frozen=True)
class Answer:
    """What a prior said of noised latents."""

    noise: Float[Tensor, "b c h w"]
    """ε, as drawn."""
    predicted: Float[Tensor, "b c h w"]
    """ε̂."""
    alphas_cumprod: Float[Tensor, " b"]
    """ᾱ of each."""


class PriorTask(ABC):
    """A `reconstruction.optimisation.task.Task` against a prior.

    Args:
        subject: the object, as its uid.
        field: what learns.
        prior: knows the input view.
        view: the input view, on the field's device.
        loop: of the run, of whose steps schedules are shares.
        cells: along a side of the grid that tells which pieces of rays are empty; 0 for none.
    """

    parameters: Parameters

    def __init__(
        self, subject: str, field: Field, prior: Prior, view: InputView, loop: LoopParameters, cells: int = 0
    ) -> None:
        self.subject, self.field, self.prior, self.view, self.loop = subject, field, prior, view, loop
        like = next(field.parameters())
        self.occupancy = OccupancyGrid(field.extent, cells).to(like.device) if cells else None
        self._optimizer = self._new_optimizer()

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the method."""

    @property
    @abstractmethod
    def memory_remedy(self) -> str:
        """What to lower when memory does not suffice."""

    @property
    def scale(self) -> float:
        """How many times larger the field's world is than the object's."""
        return self.view.scale

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Digests of picture and prior, the steps, of which schedules are shares, and the method's parameters."""
        view = self.view
        return {
            "picture": digest(view.picture, view.mask, torch.from_numpy(view.camera.c2w).float()),
            "prior": self.prior.fingerprint,
            "steps": self.loop.steps,
            "parameters": self.parameters.model_dump(mode="json"),
        }

    @abstractmethod
    def losses(self, step: int, generator: Generator) -> Mapping[str, Tensor]:
        """The weighted terms of a step."""

    @abstractmethod
    def seen(self, camera: View) -> Float[Tensor, "3 h w"]:
        """The field's picture from a square camera on white, RGB in [0, 1]; of a field of latents the decoded one."""

    @abstractmethod
    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Of the field's parameters."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The field, and which cells of it are empty."""
        return {"field": self.field} | ({"occupancy": self.occupancy} if self.occupancy else {})

    def optimizer(self) -> torch.optim.Optimizer:
        """The same one at each call."""
        return self._optimizer

    def stepped(self, step: int) -> None:
        """Look again which cells are empty, now and then."""
        if self.occupancy and step % _OCCUPANCY_EVERY == 0:
            seed = derive_seed(self.loop.seed, f"{self.subject}\0{step}", "occupancy")
            self.occupancy.update(self.field, Generator().manual_seed(seed))

    def state_dict(self) -> dict[str, Any]:
        """Nothing else."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - of methods that keep nothing
        """Go on from it."""

    @torch.no_grad()
    def preview(self, step: int) -> Image.Image:  # noqa: ARG002 - as the loop calls it
        """The field from the input's camera, and from quarters of a turn on, counter-clockwise seen from above."""
        polar, azimuth, radius = spherical_of(self.view.camera)
        cameras = [
            View(look_at_origin(polar, azimuth + turn, radius), self.view.camera.intrinsics)
            for turn in _PREVIEW_TURNS[1:]
        ]
        pictures = [self.seen(sized(camera, _PREVIEW_SIZE)) for camera in (self.view.camera, *cameras)]
        strip = torch.cat(pictures, dim=2).clamp(0.0, 1.0).movedim(0, -1).cpu().numpy()
        return Image.fromarray((strip * 255.0).round().astype(np.uint8))

    def _share(self, step: int) -> float:
        """Of the run, done."""
        return step / self.loop.steps

    def _show(
        self,
        camera: View,
        samples: int,
        background: Float[Tensor, "*n c"],
        generator: Generator | None = None,
    ) -> Shown:
        return show(self.field, camera, samples, background, generator, self.occupancy)

    def _asked(
        self,
        latents: Float[Tensor, "b c h w"],
        timesteps: Int[Tensor, " b"],
        cameras: Sequence[View],
        guidance_scale: float,
        generator: Generator,
    ) -> Answer:
        """Noise latents, and ask the prior what noise there is."""
        given = latents.detach()
        noise = torch.randn(given.shape, generator=generator).to(given)
        alphas = at_timesteps(self.prior.alphas_cumprod, timesteps.to(self.prior.device)).to(given)
        noisy = noised(given, noise, alphas)
        predicted = self._predicted(noisy, timesteps, cameras, guidance_scale, generator)
        return Answer(noise, predicted.to(given), alphas)

    def _predicted(
        self,
        noisy: Float[Tensor, "b c h w"],
        timesteps: Int[Tensor, " b"],
        cameras: Sequence[View],
        guidance_scale: float,
        generator: Generator,  # noqa: ARG002 - of methods that draw here
    ) -> Float[Tensor, "b c h w"]:
        with torch.no_grad():
            return self.prior.denoise(noisy, timesteps.to(self.prior.device), cameras, guidance_scale)
