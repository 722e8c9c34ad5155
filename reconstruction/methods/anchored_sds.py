"""SDS anchoring: views that the prior sampled once stand in for the input where it sees nothing.

Sargent et al. 2024, "ZeroNVS" (arXiv 2310.17994, section 4); kylesargent/ZeroNVS `zero123_guidance.py` (`get_cond`). Beside SDS:

- anchors at azimuths that part the circle evenly are sampled from the input before the first step;
- with a probability that sinks, a drawn view is conditioned on that of input and anchors from which it is turned the least;
- timesteps of views far from the input are those of an earlier step (`timestep_schedules.lagging_share`);
- where an anchor is nearest, pixels before a depth take no gradient: what stands close to a camera that only an anchor speaks for
  is seldom of the scene.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from blender_render.camera_sets import View
from reconstruction.fields.field import Field
from reconstruction.methods.camera_sampling import sized, spherical_of
from reconstruction.methods.input_view import InputView
from reconstruction.methods.parameters import AnchoredSdsParameters
from reconstruction.methods.sds import SdsTask
from reconstruction.methods.showing import Shown
from reconstruction.methods.timestep_schedules import lagging_share
from reconstruction.optimisation.parameters import LoopParameters
from reconstruction.priors.prior import Prior
from stage.seeds import derive_seed
from systems.object_pipeline import Camera
from systems.zeronvs.anchors import Anchors, anchor_cameras


class SamplingPrior(Prior, Protocol):
    """A prior that samples views, too."""

    def sample(
        self, cameras: Sequence[Camera], steps: int, guidance_scale: float, seed: int
    ) -> Float[Tensor, "n 3 h w"]:
        """Pictures in [−1, 1] from cameras."""


class AnchoredSdsTask(SdsTask):
    """SDS with anchors.

    Args:
        subject: the object or scene, as its uid.
        field: its features are colours.
        prior: knows the input view.
        view: the input view, on the field's device.
        loop: of the run; published: 4000 steps.
        parameters: of the method.
    """

    name = "anchored-sds"
    memory_remedy = "lower size, batch or input_size of anchored_sds.phases, or anchored_sds.samples"

    def __init__(
        self,
        subject: str,
        field: Field,
        prior: SamplingPrior,
        view: InputView,
        loop: LoopParameters,
        parameters: AnchoredSdsParameters,
    ) -> None:
        super().__init__(subject, field, prior, view, loop, parameters)
        self._chosen, self._sampler = parameters, prior
        self._anchors: Anchors | None = None
        self._priors: list[Prior] = []
        self._anchored_share = 0.0

    @property
    def anchors(self) -> Anchors:
        """The input, then the anchors; sampled when they are first asked for."""
        if self._anchors is None:
            return self._know(self._sampled())
        return self._anchors

    def losses(self, step: int, generator: Generator) -> Mapping[str, Tensor]:
        """The weighted terms of a step."""
        self._anchored_share = self._chosen.anchor_probability.at(self._share(step))
        return super().losses(step, generator)

    def state_dict(self) -> dict[str, Any]:
        """The anchors' pictures, without the input."""
        return {"anchors": self.anchors.pictures[1:].cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the anchors that were sampled already."""
        self._know(state["anchors"])

    def _sampled(self) -> Float[Tensor, "a 3 h w"]:
        """Pictures of the anchors, in [−1, 1]."""
        size, chosen = self.prior.image_size, self._chosen
        cameras = [sized(View(c2w, self.view.camera.intrinsics), size) for c2w in self._cameras()]
        if not cameras:
            return self.view.picture.new_zeros(0, 3, size, size)
        seed = derive_seed(self.loop.seed, self.subject, "anchors")
        return self._sampler.sample(cameras, chosen.anchor_steps, chosen.anchor_sampling_scale, seed)

    def _cameras(self) -> Float[np.ndarray, "a 4 4"]:
        """Of the anchors: turned about the origin's vertical."""
        count = self._chosen.anchors
        azimuths = [2.0 * np.pi * (number + 1) / (count + 1) for number in range(count)]
        if not azimuths:
            return np.zeros((0, 4, 4))
        return anchor_cameras(self.view.camera.c2w, np.zeros(3), azimuths)

    def _know(self, pictures: Float[Tensor, "a 3 h w"]) -> Anchors:
        """Have a prior of each anchor."""
        given = self.view.sized(self.prior.image_size).picture
        pictures, cameras = pictures.to(given), self._cameras()
        c2w = np.concatenate([self.view.camera.c2w[None], cameras])
        self._anchors = Anchors(torch.cat([given[None], pictures]), c2w, None)
        views = [sized(View(camera, self.view.camera.intrinsics), given.shape[-1]) for camera in cameras]
        known = [self.prior.knowing(p[None], camera) for p, camera in zip(pictures, views, strict=True)]
        self._priors = [self.prior, *known]
        return self._anchors

    def _distilled(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        drawn: Sequence[Shown],
        cameras: Sequence[View],
        share: float,
        generator: Generator,
    ) -> Float[Tensor, ""]:
        if self._chosen.depth_gate > 0.0:
            gates = [self._gate(shown, camera) for shown, camera in zip(drawn, cameras, strict=True)]
            pictures = gated(pictures, torch.stack(gates)[:, None])
        return super()._distilled(pictures, drawn, cameras, share, generator)

    def _gate(self, shown: Shown, camera: View) -> Float[Tensor, "h w"]:
        """1 where a pixel takes the gradient, 0 elsewhere."""
        if self.anchors.nearest(camera.c2w) == 0:
            return torch.ones_like(shown.opacity)
        return (shown.distance.detach() > self._chosen.depth_gate).to(shown.opacity)

    def _timesteps(self, cameras: Sequence[View], share: float, generator: Generator) -> Int[Tensor, " b"]:
        trained, azimuth = len(self.prior.alphas_cumprod), spherical_of(self.view.camera)[1]
        shares = [lagging_share(share, spherical_of(camera)[1], azimuth, self._chosen.lag) for camera in cameras]
        return torch.cat([self._chosen.annealing.at(each, trained).draw(1, generator) for each in shares])

    def _predicted(
        self,
        noisy: Float[Tensor, "b c h w"],
        timesteps: Int[Tensor, " b"],
        cameras: Sequence[View],
        guidance_scale: float,
        generator: Generator,
    ) -> Float[Tensor, "b c h w"]:
        nearest = [self.anchors.nearest(camera.c2w) for camera in cameras]
        tossed = torch.rand(len(cameras), generator=generator) < self._anchored_share
        predicted = torch.empty_like(noisy)
        for row, (near, anchored) in enumerate(zip(nearest, tossed.tolist(), strict=True)):
            # Published: the scale is that of the nearest view, whichever one is the condition.
            scale = self._chosen.anchor_guidance_scale if near else guidance_scale
            prior, one = self._priors[near if anchored else 0], slice(row, row + 1)
            steps = timesteps[one].to(prior.device)
            predicted[one] = prior.denoise(noisy[one], steps, cameras[one], scale).to(noisy)
        return predicted


def gated(picture: Float[Tensor, "*n"], keep: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The picture, whose gradient passes where `keep` is 1 and stops where it is 0 (ZeroNVS's `MaskedBackward`)."""
    return picture * keep + picture.detach() * (1.0 - keep)
