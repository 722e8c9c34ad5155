"""Sampling with ViewFusion: one picture, or several, to all views around an object, each in accord with its neighbours.

pipeline = ViewFusionPipeline(load_pipeline(folder), ViewFusionParameters())
around = pipeline.orbit(picture, camera, views=36, num_inference_steps=75, guidance_scale=3.0)
there = pipeline.towards(picture, camera, wanted)

A camera is whatever has a `c2w` in a frame about whose origin the object is; its lens is the one that the base was trained with.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, SchedulerMixin
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from stage.errors import InputError
from systems.object_pipeline import Camera, ObjectPipeline, Pictures
from systems.pictures.choices import FramingName
from systems.viewfusion.bases import conditioner_of
from systems.viewfusion.fused_views import FusedViews
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.sequence import ViewSequence
from systems.viewfusion.trajectory import Position, is_orbit, orbit_turns_deg, outward, path_towards, position_of
from systems.viewfusion.weights import Place
from systems.zero123.conditioning import POSE_DIMENSIONS
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.view_pipeline import in_form

_PUBLISHED = ViewFusionParameters()


class ViewFusionPipeline(ObjectPipeline):
    """Any pipeline that makes views from relative positions, told of all views that it has made already.

    It has no weights: it is saved as its base and `ViewFusionParameters`.

    Args:
        base: a Zero-1-to-3, Cascade or ZeroNVS 3dof pipeline.
        parameters: of the fusion.

    Raises:
        InputError: when the base is none of these.
    """

    def __init__(self, base: ObjectPipeline, parameters: ViewFusionParameters = _PUBLISHED) -> None:
        super().__init__()
        self.register_to_config(view_fusion=parameters.model_dump())
        self._conditioner = conditioner_of(base)
        self._parameters = parameters

    @property
    def base(self) -> ObjectPipeline:
        """The pipeline that makes the pictures."""
        return self._conditioner.base

    @property
    def image_size(self) -> int:
        """Width and height of the images that the base was trained on, pixels."""
        return self.base.image_size

    @property
    def views_depend_on_each_other(self) -> bool:
        """They do."""
        return True

    @property
    def scheduler(self) -> SchedulerMixin:
        """The base's noise schedule."""
        return self.base.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: SchedulerMixin) -> None:
        self.base.scheduler = scheduler

    @property
    def device(self) -> torch.device:
        """Where the base is."""
        return self.base.device

    @property
    def components(self) -> dict[str, Any]:
        """The base's modules."""
        return self.base.components

    def to(self, *arguments: Any, **options: Any) -> "ViewFusionPipeline":  # noqa: ANN401 - diffusers' own
        """Move the base, or change its type; as every pipeline's."""
        self._conditioner.base = self.base.to(*arguments, **options)
        return self

    def set_progress_bar_config(self, **options: Any) -> None:  # noqa: ANN401 - tqdm's
        """How the base shows its steps."""
        self.base.set_progress_bar_config(**options)

    def save_pretrained(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - diffusers' own
        """Refuse: there are no weights to save.

        Raises:
            InputError: always.
        """
        raise InputError("ViewFusion has no weights of its own", "save its base")

    @property
    def framing(self) -> FramingName:
        """How an object stands in the pictures that the base knows."""
        return self.base.framing

    def framed(self, picture: Image.Image) -> Image.Image:
        """What of a PIL image the base is shown."""
        return self.base.framed(picture)

    @torch.no_grad()
    def orbit(
        self,
        images: Pictures,
        cameras: Camera | Sequence[Camera],
        views: int = 36,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> FusedViews:
        """All views on the horizontal circle through the first input, which is the first of them; counter-clockwise.

        Args:
            images: one input view or several, in [−1, 1] on white or PIL images; see `ViewPipeline`.
            cameras: the camera of each.
            views: how many, the first input among them.
            **options: `SamplerOptions`; a list of generators has one for each view but the first.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        inputs = _positions(cameras)
        sequence, chosen = self._begun(images, inputs, options)
        start = inputs[0]
        turns = np.deg2rad(orbit_turns_deg(views))
        targets = [start._replace(azimuth=start.azimuth + float(each)) for each in turns]
        made = self._outwards(sequence, targets, list(range(len(targets))), chosen)
        first = self._conditioner.base.shown(images, chosen.background)[:1].float().cpu() / 2 + 0.5
        # From the input on, and all the way around.
        order = np.argsort(np.mod(np.round(turns, 9), 2 * np.pi), kind="stable")
        pictures = torch.cat([first.clamp(0, 1), *(made[n] for n in order)])
        return self._output(pictures, [start, *(targets[n] for n in order)], chosen)

    @torch.no_grad()
    def towards(
        self,
        images: Pictures,
        cameras: Camera | Sequence[Camera],
        target: Camera,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> FusedViews:
        """The view from one camera, and before it those on the way from the first input; see `orbit`."""
        inputs = _positions(cameras)
        sequence, chosen = self._begun(images, inputs, options)
        path = path_towards(inputs[0], position_of(target.c2w), self._parameters.step_deg)
        made = self._on_path(sequence, path, self._changes(chosen, 1)[0])
        return self._output(torch.cat(made), path, chosen)

    @torch.no_grad()
    def sample_views(
        self,
        images: Pictures,
        condition: Camera | Sequence[Camera],
        targets: Sequence[Camera],
        scale: float | None = None,  # noqa: ARG002 - other systems'
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> FusedViews:
        """Sample an object from wanted cameras, of which only the positions about the origin count.

        Targets on one ring with gaps of at most 45° are made outwards from the first input, each from those before it; one at its
        own place from the inputs alone. Others are made each on its own path from the inputs.

        Args:
            images: the input view; or several, with a camera for each.
            condition: the camera of each.
            targets: the wanted cameras, all of them at once: they depend on each other.
            scale: nothing to these systems.
            **options: `SamplerOptions`; a list of generators has one for each target.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        wanted = [position_of(target.c2w) for target in targets]
        return self._sampled(images, _positions(condition), wanted, options)

    @torch.no_grad()
    def __call__(
        self,
        images: Pictures,
        poses: Float[Tensor, "n 4"],
        *,
        polar: float = math.pi / 2,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> FusedViews:
        """Sample the view at each T relative to the one input view; see `sample_views`.

        Args:
            images: the input view.
            poses: T of each wanted view.
            polar: of the input's camera, radians; the horizon where nobody knows. Only a Cascade looks at it.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        if poses.ndim != 2 or poses.shape[1] != POSE_DIMENSIONS or len(poses) == 0:
            raise InputError(f"poses have shape {tuple(poses.shape)}", f"give (n, {POSE_DIMENSIONS})")
        targets = [Position(polar + float(t[0]), math.atan2(t[1], t[2]), float(t[3])) for t in poses]
        made = self._sampled(images, [Position(polar, 0.0, 0.0)], targets, options)
        return FusedViews(made.images) if isinstance(made, FusedViews) else made

    def _sampled(
        self,
        images: Pictures,
        inputs: list[Position],
        targets: list[Position],
        options: dict[str, Any],
    ) -> FusedViews:
        sequence, chosen = self._begun(images, inputs, options)
        if is_orbit(inputs[0], targets):
            made = self._outwards(sequence, targets, outward(inputs[0], targets), chosen)
        else:
            steps = self._parameters.step_deg
            paths = [path_towards(inputs[0], target, steps) for target in targets]
            pairs = zip(paths, self._changes(chosen, len(paths)), strict=True)
            made = [self._on_path(sequence.fork(), path, changes)[-1] for path, changes in pairs]
        return self._output(torch.cat(made), targets, chosen)

    def _begun(
        self, images: Pictures, inputs: list[Position], options: dict[str, Any]
    ) -> tuple[ViewSequence, SamplerOptions]:
        """What there is before the first view is made."""
        chosen = SamplerOptions(**options)
        self._check(chosen)
        sequence = ViewSequence(self._conditioner, self._parameters, chosen)
        sequence.give(self._conditioner.base.shown(images, chosen.background), inputs)
        return sequence, chosen

    def _check(self, chosen: SamplerOptions) -> None:
        if chosen.num_images_per_pose != 1:
            raise InputError(f"{chosen.num_images_per_pose} images per pose", "fused views are made one for each pose")
        if chosen.output_type == "latent":
            raise InputError("views are made from pictures, not from latents", "take pt, np or pil")
        if self._parameters.noise == "each" and not isinstance(self.scheduler, DDIMScheduler):
            raise InputError(
                f"{type(self.scheduler).__name__} draws its own noise", "set view_fusion.noise to shared, or take DDIM"
            )

    def _outwards(
        self, sequence: ViewSequence, targets: list[Position], order: list[int], chosen: SamplerOptions
    ) -> list[Float[Tensor, "1 3 h w"]]:
        """The views of an orbit, made in an order, each from those before it; as the targets are sorted.

        Targets that are not in the order are made of the inputs alone, and none is made from them.
        """
        changes, inputs = self._changes(chosen, len(targets)), sequence.fork()
        made = {
            n: sequence.make(targets[n], Place(index, len(order) + 1), changes[n], last=n == order[-1])
            for index, n in enumerate(order)
        }
        others = [n for n in range(len(targets)) if n not in made]
        made |= {n: inputs.make(targets[n], None, changes[n], last=True) for n in others}
        return [made[n] for n in range(len(targets))]

    def _on_path(
        self, sequence: ViewSequence, path: list[Position], changes: dict[str, Any]
    ) -> list[Float[Tensor, "1 3 h w"]]:
        """The views of a path; a given noise serves them all."""
        return [sequence.make(each, None, changes, last=each is path[-1]) for each in path]

    def _changes(self, chosen: SamplerOptions, count: int) -> list[dict[str, Any]]:
        """The options of each target: its own noise, where there is one for each."""
        generators, latents = chosen.generator, chosen.latents
        for name, given in (("generators", generators), ("latents", latents)):
            if isinstance(given, Sequence | Tensor) and len(given) != count:
                raise InputError(f"{len(given)} {name} for {count} views", "give one for each")
        return [
            {
                "generator": generators[n] if isinstance(generators, Sequence) else generators,
                "latents": None if latents is None else latents[n : n + 1],
            }
            for n in range(count)
        ]

    def _output(
        self, pictures: Float[Tensor, "n 3 h w"], positions: list[Position], chosen: SamplerOptions
    ) -> FusedViews:
        self._conditioner.base.maybe_free_model_hooks()
        images = in_form(pictures, chosen.output_type)
        # A tuple is what diffusers' pipelines give instead.
        return FusedViews(images, positions) if chosen.return_dict else (images,)  # type: ignore[return-value]


def _positions(cameras: Camera | Sequence[Camera]) -> list[Position]:
    given = cameras if isinstance(cameras, Sequence) else [cameras]
    return [position_of(camera.c2w) for camera in given]
