"""One object's views, made one after another: what is there already, and how the next one comes of it."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from stage.errors import InputError
from systems.viewfusion.conditions import Conditioner, SeenView
from systems.viewfusion.denoising import each_its_own, fused_prediction, fused_rows
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.trajectory import Position
from systems.viewfusion.weights import Place, condition_window, fusion_weights, offsets_from
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.schedulers import noise


class ViewSequence:
    """The views of one object, inputs first.

    Args:
        conditioner: tells the base pipeline of views.
        parameters: of the fusion.
        options: of the sampler.
    """

    def __init__(self, conditioner: Conditioner, parameters: ViewFusionParameters, options: SamplerOptions) -> None:
        self._conditioner, self._parameters, self._options = conditioner, parameters, options
        self._views: list[SeenView] = []

    def give(self, pictures: Float[Tensor, "m 3 h w"], positions: list[Position]) -> None:
        """Add inputs in [−1, 1].

        Raises:
            InputError: when there is not a position for each.
        """
        if len(pictures) != len(positions):
            raise InputError(f"{len(pictures)} input views and {len(positions)} cameras", "give one camera for each")
        for picture, position in zip(pictures.split(1), positions, strict=True):
            self._views.append(self._conditioner.see(picture, position, given=True))

    def fork(self) -> "ViewSequence":
        """Another sequence that begins with the views of this one; nothing is encoded again."""
        other = ViewSequence(self._conditioner, self._parameters, self._options)
        other._views = list(self._views)
        return other

    def make(
        self, target: Position, place: Place | None, changes: dict[str, object], last: bool = False
    ) -> Float[Tensor, "1 3 h w"]:
        """The view from a position, in [0, 1]; later ones are made from it too.

        A generated view becomes a condition as it was decoded, in [0, 1] and not rounded to 8 bits.

        Args:
            target: the position.
            place: in an orbit; None on the way towards a single view.
            changes: of the sampler's options for this view: its own generator and noise.
            last: whether no view comes after it; then it is not encoded.
        """
        rows = self._parameters.chunk or self._options.batch_size
        options = replace(self._options, batch_size=rows, **changes)  # type: ignore[arg-type]
        given = np.array([view.given for view in self._views])
        offsets = offsets_from(target, [view.position for view in self._views])
        chosen = condition_window(offsets, given, self._parameters)
        weights = fusion_weights(offsets[chosen], given[chosen], place, self._parameters)
        latents = self._denoised(target, [self._views[n] for n in chosen], weights, options)
        picture: Float[Tensor, "1 3 h w"] = self._conditioner.base.decoded(latents)
        if not last:
            self._views.append(self._conditioner.see(picture * 2 - 1, target, given=False))
        return picture

    def _denoised(
        self, target: Position, views: list[SeenView], weights: Float[np.ndarray, " n"], options: SamplerOptions
    ) -> Float[Tensor, "1 c y x"]:
        base = self._conditioner.base
        condition = self._conditioner.condition(target, views, options)
        shares = torch.from_numpy(weights).float().to(condition.latent.device)

        rows = fused_rows(condition, shares, guided=options.guidance_scale != 1.0)

        def predict(latents: Tensor, timestep: Num[Tensor, ""]) -> Float[Tensor, "1 c y x"]:
            return fused_prediction(base.unet, latents, timestep, rows, options.guidance_scale, options.batch_size)

        draw = each_its_own(shares.cpu()) if self._parameters.noise == "each" else noise
        made: Float[Tensor, "1 c y x"] = base.denoised_by(predict, condition.latent[:1], options, draw)
        return made
