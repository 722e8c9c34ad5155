"""Score distillation sampling: a field of colours, against a prior that sees its encoded pictures.

Poole et al. 2022, "DreamFusion", as threestudio publishes it for Zero-1-to-3 (`configs/zero123.yaml`,
`threestudio/systems/zero123.py`). A step sees the field from the input's camera and from a batch of drawn ones:

    λ·½‖x − stop(x − g)‖²/b,  x = encode(picture),  g = (1 − ᾱ_t)·(ε̂ − ε)
    + λ·‖picture − I‖² + λ·‖opacity − mask‖²     on the input view
    + smooth normals, normals that face the camera, little opacity, opacities of 0 or 1

Pictures grow and timesteps sink while the run goes on.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float, Int
from torch import Generator, Tensor

from blender_render.camera_sets import View
from reconstruction.fields.field import Field
from reconstruction.marching.picture import picture_of
from reconstruction.methods.camera_sampling import sized
from reconstruction.methods.field_losses import (
    input_foreground,
    input_mask,
    normal_smoothness,
    opaqueness,
    orientation,
    sparsity,
    surface_smoothness,
)
from reconstruction.methods.input_view import InputView
from reconstruction.methods.parameters import Phase, SdsParameters
from reconstruction.methods.prior_task import PriorTask
from reconstruction.methods.score import sds_gradient, sds_weights, with_gradient
from reconstruction.methods.showing import Shown, jittered_normals, shown_normals
from reconstruction.optimisation.parameters import LoopParameters
from reconstruction.priors.prior import Prior
from stage.errors import InputError, ParameterError

_BETAS = (0.9, 0.99)
_COLOURS = 3


class SdsTask(PriorTask):
    """Score distillation sampling.

    Args:
        subject: the object, as its uid.
        field: its features are colours.
        prior: knows the input view.
        view: the input view, on the field's device.
        loop: of the run; published: 600 steps.
        parameters: of the method.

    Raises:
        InputError: when the field has other than three channels.
        ParameterError: when the phases do not begin at 0 and ascend.
    """

    parameters: SdsParameters
    name = "sds"
    memory_remedy = "lower size, batch or input_size of sds.phases, or sds.samples"

    def __init__(
        self,
        subject: str,
        field: Field,
        prior: Prior,
        view: InputView,
        loop: LoopParameters,
        parameters: SdsParameters,
    ) -> None:
        if field.channels != _COLOURS:
            raise InputError(f"the field has {field.channels} channels", "give SDS a field of three, for RGB")
        begins = [phase.begin for phase in parameters.phases]
        if begins[0] != 0.0 or begins != sorted(begins):
            raise ParameterError(f"phases begin at {begins}", "let the first begin at 0 and the others follow")
        self.parameters = parameters
        super().__init__(subject, field, prior, view, loop, parameters.occupancy)

    def losses(self, step: int, generator: Generator) -> Mapping[str, Tensor]:
        """The weighted terms of a step."""
        share = self._share(step)
        phase = phase_at(self.parameters.phases, share)
        background = self._background(generator)
        cameras = self.parameters.cameras.draw(self.view.camera, phase.batch, share, generator)
        cameras = [sized(camera, phase.size) for camera in cameras]
        drawn = [self._show(camera, self.parameters.samples, background, generator) for camera in cameras]
        pictures = torch.stack([shown.features for shown in drawn])
        terms = {"sds": self.parameters.sds_weight * self._distilled(pictures, drawn, cameras, share, generator)}
        for shown in drawn:
            _add(terms, self._field_terms(shown, "drawn", generator), 1.0 / len(drawn))
        return terms | self._input_terms(phase, background, generator)

    def seen(self, camera: View) -> Float[Tensor, "3 h w"]:
        """The field's picture on white."""
        white = next(self.field.parameters()).new_ones(_COLOURS)
        seen = picture_of(self.field, camera, self.parameters.samples, white, self.occupancy)
        return seen.features.permute(2, 0, 1)

    def _distilled(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        drawn: Sequence[Shown],  # noqa: ARG002 - of methods that look at depth
        cameras: Sequence[View],
        share: float,
        generator: Generator,
    ) -> Float[Tensor, ""]:
        latents = self._encoded(pictures)
        timesteps = self._timesteps(cameras, share, generator)
        answer = self._asked(latents, timesteps, cameras, self.parameters.guidance_scale, generator)
        gradient = sds_gradient(answer.noise, answer.predicted, sds_weights(answer.alphas_cumprod))
        return with_gradient(latents, gradient)

    def _timesteps(self, cameras: Sequence[View], share: float, generator: Generator) -> Int[Tensor, " b"]:
        trained = len(self.prior.alphas_cumprod)
        return self.parameters.annealing.at(share, trained).draw(len(cameras), generator)

    def _encoded(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Latents of pictures in [0, 1], brought to the prior's size."""
        size = self.prior.image_size
        if pictures.shape[-1] != size:
            pictures = F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
        return self.prior.encode(pictures * 2.0 - 1.0)

    def _input_terms(
        self, phase: Phase, background: Float[Tensor, "3"], generator: Generator
    ) -> dict[str, Float[Tensor, ""]]:
        chosen, view = self.parameters, self.view.sized(phase.input_size)
        shown = self._show(view.camera, chosen.samples, background, generator)
        picture = (view.picture + 1.0) / 2.0
        error = input_foreground(shown.features, background[:, None, None], picture, view.mask)
        terms = {"input": chosen.input_weight * error}
        if chosen.mask_weight:
            terms["mask"] = chosen.mask_weight * input_mask(shown.opacity, view.mask)
        return terms | self._field_terms(shown, "input", generator)

    def _field_terms(self, shown: Shown, of: str, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """What is asked of the field itself in a view."""
        chosen, terms = self.parameters, {}
        if chosen.sparsity_weight and of == "drawn":
            terms["sparsity"] = chosen.sparsity_weight * sparsity(shown.opacity)
        if chosen.opaqueness_weight:
            terms[f"{of}_opaqueness"] = chosen.opaqueness_weight * opaqueness(shown.opacity)
        if chosen.normal_smoothness_weight or chosen.surface_smoothness_weight or chosen.orientation_weight:
            terms |= self._normal_terms(shown, of, generator)
        return terms

    def _normal_terms(self, shown: Shown, of: str, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        chosen, normals = self.parameters, shown_normals(self.field, shown)
        facing = orientation(normals.weights, normals.normals, normals.directions, shown.opacity)
        terms = {
            f"{of}_normal_smoothness": chosen.normal_smoothness_weight * normal_smoothness(normals.picture),
            f"{of}_orientation": chosen.orientation_weight * facing,
        }
        if chosen.surface_smoothness_weight:
            jittered = jittered_normals(self.field, normals, generator)
            change = surface_smoothness(normals.normals, jittered)
            terms[f"{of}_surface_smoothness"] = chosen.surface_smoothness_weight * change
        return terms

    def _background(self, generator: Generator) -> Float[Tensor, "3"]:
        like = next(self.field.parameters())
        if self.parameters.background == "random":
            return torch.rand(_COLOURS, generator=generator).to(like)
        return torch.ones(_COLOURS, device=like.device, dtype=like.dtype)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.field.parameters(), lr=self.parameters.learning_rate, betas=_BETAS)


def phase_at(phases: Sequence[Phase], share: float) -> Phase:
    """The last phase that has begun at a share of the run."""
    return [phase for phase in phases if phase.begin <= share][-1]


def _add(terms: dict[str, Tensor], more: Mapping[str, Tensor], factor: float) -> None:
    for name, value in more.items():
        terms[name] = terms.get(name, value.new_zeros(())) + factor * value
