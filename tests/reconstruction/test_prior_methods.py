"""SJC, SDS and anchored SDS as tasks: terms, questions to the prior, steps on tiny pipelines, resuming to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prior_support import (
    SIZE,
    KnownPrior,
    camera,
    cascade_pipeline,
    input_view,
    zero123_pipeline,
    zeronvs_pipeline,
)

from reconstruction.fields.field import box_about_origin
from reconstruction.fields.voxel_field import VoxelField
from reconstruction.methods.anchored_sds import AnchoredSdsTask
from reconstruction.methods.camera_sampling import spherical_of
from reconstruction.methods.parameters import AnchoredSdsParameters, Phase, SdsParameters, SjcParameters
from reconstruction.methods.prior_methods import PriorMethod, learning_view, prior_task
from reconstruction.methods.prior_task import PriorTask
from reconstruction.methods.sds import SdsTask
from reconstruction.methods.sjc import SjcTask
from reconstruction.methods.weight_schedules import constant
from reconstruction.optimisation.loop import optimise, step_generator
from reconstruction.optimisation.parameters import LoopParameters, ReconstructParameters
from reconstruction.priors.latent_prior import prior_of
from stage.errors import InputError, ParameterError

VIEW = input_view()
PHASES = (Phase(size=8, batch=2, input_size=8),)
FIELD: dict[str, Any] = {"levels": 2, "finest": 16, "table": 512, "width": 8, "occupancy": 8}
QUICK = ReconstructParameters(
    loop=LoopParameters(steps=6, checkpoint_every=3, preview_every=0),
    sjc=SjcParameters(resolution=8, samples=8),
    sds=SdsParameters(phases=PHASES, samples=12, **FIELD),
    anchored_sds=AnchoredSdsParameters(phases=PHASES, samples=12, anchor_steps=2, depth_gate=1.0, **FIELD),
)
METHODS: list[PriorMethod] = ["sjc", "sds", "anchored-sds"]


def pipeline_prior(system: str = "zero123"):
    pipelines = {"zero123": zero123_pipeline, "zeronvs": zeronvs_pipeline, "cascade": cascade_pipeline}
    return prior_of(pipelines[system](), VIEW.picture[None], VIEW.camera, 0.7 if system == "zeronvs" else None)


def known_prior(clean=lambda _: -torch.ones(3, SIZE, SIZE)) -> KnownPrior:
    return KnownPrior(clean, VIEW.camera)


def colour_field() -> VoxelField:
    return VoxelField(box_about_origin(), 8, 3)


def weights(task: PriorTask) -> dict[str, torch.Tensor]:
    return {f"{m}.{k}": v.clone() for m, module in task.modules().items() for k, v in module.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(method: PriorMethod, tmp_path: Path) -> None:
    whole = prior_task(method, "chair", pipeline_prior(), VIEW, QUICK)
    begun = weights(whole)
    assert optimise(whole, tmp_path / "whole", QUICK.loop) == 6
    assert any(not torch.equal(begun[name], value) for name, value in weights(whole).items())

    class BrokenOffError(Exception):
        pass

    def stop(step: int, figures: Any) -> None:
        if step == 4:
            raise BrokenOffError

    first = prior_task(method, "chair", pipeline_prior(), VIEW, QUICK)
    with pytest.raises(BrokenOffError):
        optimise(first, tmp_path / "broken", QUICK.loop, watch=stop)
    second = prior_task(method, "chair", pipeline_prior(), VIEW, QUICK)
    assert optimise(second, tmp_path / "broken", QUICK.loop) == 3
    for name, value in weights(second).items():
        assert torch.equal(value, weights(whole)[name]), name


def begun(folder: Path, **changes: Any) -> PriorTask:
    """Three steps of SJC, or an attempt to go on from them with something else."""
    loop = LoopParameters(steps=changes.get("steps", 3), checkpoint_every=3, preview_every=0)
    sjc = SjcParameters(resolution=8, samples=8, learning_rate=changes.get("learning_rate", 0.05))
    view, pipeline = changes.get("view", VIEW), zero123_pipeline()
    with torch.no_grad():
        next(pipeline.unet.parameters()).view(-1)[0] += changes.get("weight", 0.0)
    prior = prior_of(pipeline, view.picture[None], view.camera)
    parameters = QUICK.model_copy(update={"loop": loop, "sjc": sjc})
    task = prior_task("sjc", "chair", prior, view, parameters)
    optimise(task, folder, loop)
    return task


OTHERS = [
    ({"weight": 1e-3}, r"prior \w{12}, now \w{12}"),
    ({"view": replace(VIEW, picture=VIEW.picture * 0.99)}, r"picture \w{12}, now \w{12}; prior \w{12}, now \w{12}"),
    ({"view": replace(VIEW, camera=camera(0.0, elevation_deg=21.0))}, r"picture \w{12}, now \w{12}; prior"),
    ({"learning_rate": 0.1}, r"parameters\.learning_rate 0\.05, now 0\.1"),
    ({"steps": 6}, "steps 3, now 6"),
]


def test_other_weights_pictures_or_rates_are_not_mixed_into_a_run(tmp_path: Path) -> None:
    before = weights(begun(tmp_path))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for changes, told in OTHERS:
        with pytest.raises(InputError, match=f"holds checkpoints of another run: {told}.*; name another folder"):
            begun(tmp_path, **changes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    again = weights(begun(tmp_path))
    assert all(torch.equal(again[name], value) for name, value in before.items())


def test_sjc_learns_where_its_camera_was_published() -> None:
    near = replace(VIEW, camera=camera(30.0, elevation_deg=10.0, radius=1.5))
    published = learning_view("sjc", near, QUICK)
    assert spherical_of(published.camera) == pytest.approx((np.deg2rad(80.0), np.deg2rad(30.0), 2.0))
    assert published.sized(8).scale == pytest.approx(4 / 3)
    np.testing.assert_array_equal(published.camera.c2w[:3, :3], near.camera.c2w[:3, :3])
    assert near.camera.c2w[:3, 3] == pytest.approx(camera(30.0, 10.0, 1.5).c2w[:3, 3])
    assert learning_view("sds", near, QUICK) is near
    task = prior_task(
        "sjc", "chair", KnownPrior(lambda _: torch.zeros(3, SIZE, SIZE), published.camera), published, QUICK
    )
    assert task.scale == pytest.approx(4 / 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("system", ["zeronvs", "cascade"])
def test_every_pipeline_serves_every_method(method: PriorMethod, system: str, tmp_path: Path) -> None:
    parameters = QUICK.model_copy(update={"loop": LoopParameters(steps=1, preview_every=1)})
    task = prior_task(method, "room", pipeline_prior(system), VIEW, parameters)
    assert optimise(task, tmp_path, parameters.loop) == 1
    assert (tmp_path / "previews" / "step-00000001.png").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_a_preview_shows_four_sides(method: PriorMethod) -> None:
    task = prior_task(method, "chair", pipeline_prior(), VIEW, QUICK)
    preview = task.preview(0)
    assert preview.height * 4 == preview.width
    assert preview.mode == "RGB"


def test_sjc_terms_follow_their_schedule() -> None:
    prior = known_prior()
    parameters = SjcParameters(samples=8, emptiness_weight=1.0)
    task = SjcTask("chair", colour_field(), prior, VIEW, LoopParameters(steps=100), parameters)
    early = task.losses(49, step_generator(0, "chair", 49))
    late = task.losses(50, step_generator(0, "chair", 50))
    assert set(late) - set(early) == {"depth_smoothness"}
    assert set(early) == {"input", "input_smoothness", "score", "near_view", "emptiness"}
    assert all(10 <= timestep <= 969 for timestep, _, _ in prior.asked)
    assert {scale for _, scale, _ in prior.asked} == {100.0}


def test_sjc_descends_the_score_and_nothing_else_from_the_prior() -> None:
    # A prior of one clean picture x̂: the gradient is (x − x̂)/σ exactly, whatever the noise.
    prior, clean = known_prior(), -torch.ones(3, SIZE, SIZE)
    task = SjcTask("chair", colour_field(), prior, VIEW, LoopParameters(), SjcParameters(samples=8))
    generator = step_generator(0, "chair", 0)
    drawn = task.parameters.cameras.draw(VIEW.camera, generator)
    shown = task._latents(drawn)
    loss = task._score(shown, drawn, generator)
    (gradient,) = torch.autograd.grad(loss, shown.features)
    kept = prior.alphas_cumprod[prior.asked[0][0]]
    torch.testing.assert_close(gradient, (shown.features - clean) * (kept / (1 - kept)).sqrt(), rtol=1e-3, atol=1e-3)


def test_sds_descends_its_weight_times_the_error() -> None:
    prior, clean = known_prior(), -torch.ones(3, SIZE, SIZE)
    parameters = SdsParameters(phases=(Phase(size=SIZE, batch=2),), samples=8, occupancy=0)
    task = SdsTask("chair", colour_field(), prior, VIEW, LoopParameters(), parameters)
    pictures = torch.rand(2, 3, SIZE, SIZE, generator=step_generator(0, "x", 0)).requires_grad_()
    loss = task._distilled(pictures, [], [camera(10.0), camera(50.0)], 0.0, step_generator(0, "chair", 0))
    (gradient,) = torch.autograd.grad(loss, pictures)
    for row, (timestep, scale, _) in enumerate(prior.asked):
        kept = prior.alphas_cumprod[timestep]
        assert 400 <= timestep <= 850
        assert scale == 3.0
        # Half of (1 − ᾱ)·√ᾱ/√(1−ᾱ)·(x − x̂), twice for x = 2·picture − 1.
        error = (2 * pictures[row] - 1).detach() - clean
        torch.testing.assert_close(gradient[row], (kept * (1 - kept)).sqrt() * error, rtol=1e-3, atol=1e-4)


def test_sds_terms_are_those_of_threestudio() -> None:
    parameters = SdsParameters(phases=PHASES, samples=8)
    task = SdsTask("chair", colour_field(), known_prior(), VIEW, LoopParameters(), parameters)
    of_field = {"normal_smoothness", "surface_smoothness", "orientation", "opaqueness"}
    terms = task.losses(0, step_generator(0, "chair", 0))
    both = {f"{of}_{term}" for of in ("drawn", "input") for term in of_field}
    assert set(terms) == both | {"sds", "sparsity", "input", "mask"}
    assert all(torch.isfinite(term) for term in terms.values())


def test_sds_asks_for_a_field_of_colours_and_phases_in_order() -> None:
    with pytest.raises(InputError, match="three, for RGB"):
        SdsTask("x", VoxelField(box_about_origin(), 8, 4), known_prior(), VIEW, LoopParameters(), SdsParameters())
    wrong = SdsParameters(phases=(Phase(begin=0.5), Phase()))
    with pytest.raises(ParameterError, match="begin at 0"):
        SdsTask("x", colour_field(), known_prior(), VIEW, LoopParameters(), wrong)
    with pytest.raises(InputError, match="4 channels and the prior's latents 3"):
        SjcTask("x", VoxelField(box_about_origin(), 8, 4), known_prior(), VIEW, LoopParameters(), SjcParameters())


def anchored(prior: KnownPrior | None = None, **changes: Any) -> AnchoredSdsTask:
    parameters = AnchoredSdsParameters(phases=PHASES, samples=8, occupancy=0, **changes)
    return AnchoredSdsTask("room", colour_field(), prior or known_prior(), VIEW, LoopParameters(), parameters)


def test_anchors_part_the_circle_and_are_sampled_once() -> None:
    prior = known_prior()
    task = anchored(prior)
    task.losses(0, step_generator(0, "room", 0))
    task.losses(1, step_generator(0, "room", 1))
    assert prior.sampled == [(2, 500)]
    turns = [np.rad2deg(spherical_of_c2w(c2w)[1]) % 360 for c2w in task.anchors.c2w]
    assert turns == pytest.approx([0, 120, 240], abs=1e-6)
    polars = [spherical_of_c2w(c2w)[0] for c2w in task.anchors.c2w]
    assert polars == pytest.approx([np.deg2rad(70)] * 3)


def spherical_of_c2w(c2w: np.ndarray) -> tuple[float, float, float]:
    return spherical_of(type(VIEW.camera)(c2w, VIEW.camera.intrinsics))


@pytest.mark.parametrize(("probability", "conditions"), [(1.0, [0, 1, 2, 0]), (0.0, [0, 0, 0, 0])])
def test_views_are_conditioned_on_what_they_are_turned_from_the_least(
    probability: float, conditions: list[int]
) -> None:
    task = anchored(anchor_probability=constant(probability), anchor_guidance_scale=2.0)
    told = []

    class Listening(KnownPrior):
        def knowing(self, image: torch.Tensor, source: Any) -> "Listening":  # noqa: ARG002
            return Listening(self.clean, source)

        def denoise(self, noisy: Any, timesteps: Any, cameras: Any, guidance_scale: float) -> torch.Tensor:
            told.append((round(np.rad2deg(spherical_of(self.source)[1]) % 360 / 120), guidance_scale))
            return super().denoise(noisy, timesteps, cameras, guidance_scale)

    task.prior = task._sampler = Listening(lambda _: torch.zeros(3, SIZE, SIZE), VIEW.camera)
    task._anchored_share = probability
    cameras = [camera(azimuth) for azimuth in (10.0, 100.0, 200.0, -50.0)]
    task._predicted(torch.zeros(4, 3, SIZE, SIZE), torch.full((4,), 9), cameras, 7.5, step_generator(0, "x", 0))
    assert [source for source, _ in told] == conditions
    # The scale is that of the nearest view either way.
    assert [scale for _, scale in told] == [7.5, 2.0, 2.0, 7.5]


def test_the_far_side_is_asked_at_noisier_timesteps() -> None:
    task = anchored()
    cameras = [camera(azimuth) for azimuth in (0.0, 180.0) * 200]
    drawn = task._timesteps(cameras, 0.625, step_generator(0, "x", 0)).reshape(-1, 2)
    # In front at 2500 of 4000 steps: 20 to 25. Behind as at 1500: 20 to 661.
    assert drawn[:, 0].min() >= 20
    assert drawn[:, 0].max() <= 25
    assert 600 < drawn[:, 1].max() <= 661


def test_the_gate_holds_back_what_is_close_where_an_anchor_is_nearest() -> None:
    task = anchored(depth_gate=1.9)
    with torch.no_grad():
        # Nothing but a slab in the lower half of the box, which cameras at distance 2 see at about that.
        task.field.density_values.fill_(-20.0)
        task.field.density_values[:, :, :4] = 20.0
    views = [camera(5.0, size=8), camera(120.0, size=8)]
    shown = [task._show(view, 8, torch.ones(3)) for view in views]
    near, far = (task._gate(each, view) for each, view in zip(shown, views, strict=True))
    assert near.min() == 1.0  # the input is nearest: all pixels count
    assert torch.equal(far, (shown[1].distance > 1.9).float())
    assert 0 < far.sum() < far.numel()
    pictures = torch.stack([each.features for each in shown])
    loss = task._distilled(pictures, shown, views, 0.0, step_generator(0, "x", 0))
    (gradient,) = torch.autograd.grad(loss, pictures)
    assert gradient[1][:, far == 0].abs().max() == 0
    assert gradient[1][:, far == 1].abs().min() > 0
    assert gradient[0].abs().min() > 0


def test_anchors_come_back_from_a_checkpoint() -> None:
    task, prior = anchored(), known_prior()
    state = task.state_dict()
    other = anchored(prior)
    other.load_state_dict(state)
    assert torch.equal(other.anchors.pictures, task.anchors.pictures)
    assert prior.sampled == []
