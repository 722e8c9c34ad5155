"""Score Jacobian chaining: a field whose features are latents, against the score of a prior.

Wang et al. 2023, "Score Jacobian Chaining", as Zero-1-to-3 publishes it (cvlab-columbia/zero123 `3drec/run_zero123.py`). A step
sees the field from the input's camera, from a drawn one and from one beside it:

    λᵢ·‖decode(xᵢ) − I‖² + λₛ/10·S(dᵢ)          the input view, decoded, and its depth
    + ½‖x − stop(x − g)‖²                        the score, g = −(D − x)/σ
    + λₙ·(|x′ − x| + |d′ − d|)                   near views agree
    + λₛ·S(d)·[step ≥ half]  + λₑ·E(w)           smooth depth, emptiness

x are latents as wide as the prior's, d depths along rays with the background at 10.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from blender_render.camera_sets import View
from reconstruction.fields.field import Field
from reconstruction.methods.camera_sampling import sized
from reconstruction.methods.field_losses import (
    depth_smoothness,
    emptiness,
    filled_depth,
    input_picture,
    near_view_consistency,
)
from reconstruction.methods.input_view import InputView
from reconstruction.methods.parameters import SjcParameters
from reconstruction.methods.prior_task import PriorTask
from reconstruction.methods.score import sjc_gradient, with_gradient
from reconstruction.methods.showing import Shown
from reconstruction.methods.timestep_schedules import sjc_range
from reconstruction.methods.weight_schedules import from_share, growing
from reconstruction.optimisation.parameters import LoopParameters
from reconstruction.priors.prior import Prior
from stage.errors import InputError


class SjcTask(PriorTask):
    """Score Jacobian chaining.

    Args:
        subject: the object, as its uid.
        field: its features are the prior's latent channels.
        prior: knows the input view.
        view: the input view, on the field's device.
        loop: of the run; published: 10000 steps.
        parameters: of the method.

    Raises:
        InputError: when the field has other channels than the prior's latents.
    """

    parameters: SjcParameters
    name = "sjc"
    memory_remedy = "lower sjc.samples"

    def __init__(
        self,
        subject: str,
        field: Field,
        prior: Prior,
        view: InputView,
        loop: LoopParameters,
        parameters: SjcParameters,
    ) -> None:
        channels, self._size, _ = prior.latent_shape
        if field.channels != channels:
            raise InputError(
                f"the field has {field.channels} channels and the prior's latents {channels}",
                "give SJC a field of as many channels",
            )
        self.parameters = parameters
        super().__init__(subject, field, prior, view.sized(prior.image_size), loop)

    def losses(self, step: int, generator: Generator) -> Mapping[str, Tensor]:
        """The weighted terms of a step."""
        drawn = self.parameters.cameras.draw(self.view.camera, generator)
        beside = self.parameters.cameras.beside(drawn, generator)
        shown = self._latents(drawn)
        terms = self._input_terms() | {"score": self._score(shown, drawn, generator)}
        return terms | self._drawn_terms(shown, self._latents(beside), self._share(step))

    def seen(self, camera: View) -> Float[Tensor, "3 h w"]:
        """The field's picture, decoded."""
        return self.prior.decode(self._latents(camera).features[None])[0]

    def _input_terms(self) -> dict[str, Tensor]:
        chosen, shown = self.parameters, self._latents(self.view.camera)
        decoded = self.prior.decode(shown.features[None])[0] * 2.0 - 1.0
        smoothness = chosen.depth_smoothness_weight * chosen.input_smoothness_share
        return {
            "input": chosen.input_weight * input_picture(decoded, self.view.picture),
            "input_smoothness": smoothness * depth_smoothness(self._depth(shown)),
        }

    def _score(self, shown: Shown, camera: View, generator: Generator) -> Float[Tensor, ""]:
        chosen, latents = self.parameters, shown.features[None]
        trained = len(self.prior.alphas_cumprod)
        timesteps = sjc_range(trained, chosen.skipped_noisiest, chosen.skipped_cleanest).draw(1, generator)
        answer = self._asked(latents, timesteps, [camera], chosen.guidance_scale, generator)
        gradient = sjc_gradient(
            latents.detach(), answer.noise, answer.predicted, answer.alphas_cumprod, chosen.variance_reduction
        )
        return chosen.score_weight * with_gradient(latents, gradient)

    def _drawn_terms(self, shown: Shown, near: Shown, share: float) -> dict[str, Tensor]:
        chosen, depth = self.parameters, self._depth(shown)
        agreement = near_view_consistency(shown.features, depth, near.features, self._depth(near))
        terms = {"near_view": chosen.near_view_weight * agreement}
        smoothness = from_share(chosen.depth_smoothness_weight, share, chosen.smooth_from)
        if smoothness:
            terms["depth_smoothness"] = smoothness * depth_smoothness(depth)
        if chosen.emptiness_weight:
            weight = growing(chosen.emptiness_weight, share, chosen.emptiness_multiplier)
            terms["emptiness"] = weight * emptiness(shown.marched.weights)
        return terms

    def _latents(self, camera: View) -> Shown:
        """The field from a camera, as wide as the prior's latents, on the latent of white."""
        return self._show(sized(camera, self._size), self.parameters.samples, self._white(self._size))

    def _depth(self, shown: Shown) -> Float[Tensor, "h w"]:
        return filled_depth(shown.distance, shown.opacity, self.parameters.background_depth)

    def _white(self, size: int) -> Float[Tensor, "n c"]:
        white = self.prior.white
        if white.shape[-1] != size:
            white = torch.nn.functional.interpolate(white[None], size=(size, size), mode="bilinear")[0]
        return white.flatten(1).T.to(next(self.field.parameters()))

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adamax(self.field.parameters(), lr=self.parameters.learning_rate)
