"""NeuS on an object whose surface is known: what a step is, resuming, errors, and that it finds the surface."""

import known_object
import numpy as np
import pytest
import torch
from PIL import Image

from geometry.surface_metrics import chamfer_l1, grid_points, nearest, volume_iou
from geometry.surfaces import sample_surface
from reconstruction.field_mesh import mesh_of
from reconstruction.field_orbit import orbit
from reconstruction.methods.neus import NeusTask, rate_at
from reconstruction.optimisation.loop import optimise, step_generator
from reconstruction.optimisation.parameters import (
    SMALL_NEUS,
    FieldMeshParameters,
    LoopParameters,
    NeusParameters,
    ReconstructParameters,
)
from reconstruction.posed_views import PosedViews, views_on_white, views_with_alpha
from reconstruction.reconstruct import reconstruct
from stage.errors import InputError, ParameterError
from stage.parameters import validated

CPU = torch.device("cpu")
TINY = SMALL_NEUS.model_copy(
    update={
        "rays": 24,
        "foreground_rays": 8,
        "samples": 8,
        "fine_samples": 6,
        "width": 16,
        "layers": 2,
        "occupancy": 8,
    }
)


@pytest.fixture(scope="module")
def views() -> PosedViews:
    torch.set_num_threads(1)
    cameras = known_object.cameras(3, 20)
    return views_with_alpha([known_object.render(camera) for camera in cameras], cameras)


def loop(**values) -> LoopParameters:
    return LoopParameters(**{"steps": 130, "checkpoint_every": 130, "preview_every": 0} | values)


def test_the_published_settings_are_the_defaults():
    """ViewFusion's my_neus_spin36.yaml and SyncDreamer's renderer."""
    chosen = ReconstructParameters()
    assert (chosen.neus.rays, chosen.neus.foreground_rays) == (3584, 512)
    assert (chosen.neus.samples, chosen.neus.fine_samples) == (64, 64)
    assert (chosen.neus.colour_weight, chosen.neus.mask_weight, chosen.neus.eikonal_weight) == (0.5, 1.0, 0.1)
    assert (chosen.neus.learning_rate, chosen.loop.steps, chosen.neus.warm_up) == (5e-4, 2000, 100)
    assert chosen.mesh.resolution == 512
    assert ReconstructParameters(method="sjc").loop.steps == 10_000
    seeded = validated(ReconstructParameters, {"method": "anchored-sds", "loop": {"seed": 3}}, "reconstruct")
    assert (seeded.loop.seed, seeded.loop.steps) == (3, 4000)
    assert ReconstructParameters(method="sds", loop=LoopParameters(steps=7)).loop.steps == 7
    with pytest.raises(ParameterError, match=r"neus\.ray.*rays"):
        validated(ReconstructParameters, {"neus": {"ray": 3}}, "params.yaml: reconstruct")


def test_the_learning_rate_rises_and_falls_by_thousands():
    chosen = NeusParameters()
    rates = [rate_at(step, 2000, chosen) for step in (0, 50, 100, 999, 1000, 1999, 2000)]
    np.testing.assert_allclose(rates, [0.02, 0.51, 1.0, 1.0, 0.02**0.5, 0.02**0.5, 0.02])


def test_a_step_teaches_every_part(views):
    task = NeusTask(views, TINY, loop(), "box", CPU)
    terms = task.losses(0, step_generator(0, "box", 0))
    assert set(terms) == {"colour", "mask", "eikonal"}
    assert all(0.0 < float(term.detach()) < 2.0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.field.parameters())
    assert task.field.deviation.grad.abs() > 0.0


def test_it_begins_the_same_and_draws_from_the_step_alone(views):
    first, second = (NeusTask(views, TINY, loop(), "box", CPU) for _ in range(2))
    assert all(map(torch.equal, first.field.state_dict().values(), second.field.state_dict().values()))
    one, other = (task.losses(3, step_generator(0, "box", 3))["colour"] for task in (first, second))
    assert torch.equal(one, other)
    elsewhere = NeusTask(views, TINY, loop(seed=1), "box", CPU)
    assert not torch.equal(elsewhere.field.network.last.weight, first.field.network.last.weight)


def test_resumed_it_ends_with_the_same_bits(views, tmp_path):
    """Over the steps at which the occupancy begins to be told, and with a preview in between."""
    whole, half, rest = (NeusTask(views, TINY, loop(), "box", CPU) for _ in range(3))
    optimise(whole, tmp_path / "whole", loop())
    optimise(half, tmp_path / "resumed", loop(steps=117, checkpoint_every=117, preview_every=117))
    assert optimise(rest, tmp_path / "resumed", loop()) == 13
    for name, module in whole.modules().items():
        assert all(map(torch.equal, module.state_dict().values(), rest.modules()[name].state_dict().values())), name
    assert whole.occupancy.share < 1.0
    assert Image.open(tmp_path / "resumed/previews/step-00000117.png").size == (40, 20)


def test_an_untrained_field_is_a_coloured_ball(views):
    task = NeusTask(views, SMALL_NEUS, loop(), "box", CPU)
    mesh = mesh_of(task.field, FieldMeshParameters(resolution=32))
    assert mesh.is_watertight
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.mean() == pytest.approx(0.5, abs=0.06)
    assert 0.0 <= mesh.colours.min() <= mesh.colours.max() <= 1.0
    picture = task.picture(known_object.cameras(1, 16)[0])
    assert picture.opacity[8, 8] > 0.99
    assert picture.opacity[0, 0] < 0.05
    assert picture.depth[8, 8].item() == pytest.approx(known_object.RADIUS - 0.5, abs=0.15)
    # Towards the camera.
    assert picture.normals[8, 8] @ torch.tensor(known_object.cameras(1, 16)[0].c2w[:3, 2]).float() > 0.8


def test_views_become_a_coloured_mesh(views, tmp_path):
    parameters = ReconstructParameters(loop=loop(steps=4), neus=TINY, mesh=FieldMeshParameters(resolution=24))
    task = NeusTask(views, parameters.neus, parameters.loop, "box", CPU)
    mesh = reconstruct(task, tmp_path, parameters)
    assert mesh.is_watertight
    assert mesh.colours is not None
    frames = list(orbit(task.seen, 2, 16))
    assert (frames[0][0, 0] > 200).all()
    assert (tmp_path / "checkpoints/step-00000004/manifest.json").exists()


def test_a_field_without_surface_is_told(views):
    field = NeusTask(views, TINY, loop(), "box", CPU).field
    with torch.no_grad():
        field.network.last.bias.add_(5.0)
    with pytest.raises(
        InputError, match=r"the field is empty: its signed distance is [4-6][^;]*; look at the previews"
    ):
        mesh_of(field, FieldMeshParameters(resolution=16))


def test_views_are_checked():
    cameras = known_object.cameras(2, 8)
    white = torch.ones(2, 3, 8, 8)
    with pytest.raises(InputError, match="no view shows anything"):
        views_on_white(white, cameras)
    white[0, :, 3:5, 3:5] = 0.2
    with pytest.raises(InputError, match="2 views have 1 cameras"):
        views_on_white(white, cameras[:1])
    with pytest.raises(InputError, match=r"views of \(8, 8\) pixels"):
        views_on_white(white, known_object.cameras(2, 16))
    assert views_on_white(white, cameras).masks.sum() == 4
    faint, full = (Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (51, 255))
    seen = views_with_alpha([faint, full], cameras)
    torch.testing.assert_close(seen.images[0, 0, 0], torch.tensor([1.0, 0.8, 0.8]))
    assert seen.masks[0, 0, 0].item() == pytest.approx(0.2)


@pytest.mark.slow
def test_it_finds_a_surface_from_16_renders(tmp_path):
    """At 64 pixels on a CPU, in minutes."""
    torch.set_num_threads(1)
    cameras = known_object.cameras(16, 64)
    views = views_with_alpha([known_object.render(camera) for camera in cameras], cameras)
    run = LoopParameters(steps=1200, checkpoint_every=400, preview_every=400)
    task = NeusTask(views, SMALL_NEUS, run, "known", CPU)
    optimise(task, tmp_path, run)
    mesh, truth = mesh_of(task.field, FieldMeshParameters(resolution=128)), known_object.mesh()
    pairs = nearest(sample_surface(mesh, 20_000, 0), sample_surface(truth, 20_000, 1))
    iou = volume_iou(mesh, truth, grid_points(64, 0.5))
    print(f"Chamfer {chamfer_l1(pairs):.4f}, IoU {iou:.3f}")
    assert mesh.is_watertight
    assert chamfer_l1(pairs) <= 0.03
    assert iou >= 0.8
    # Blue is the ball at +X, red the box at −X.
    ball = mesh.colours[mesh.vertices[:, 0] > 0.4].mean(axis=0)
    box = mesh.colours[mesh.vertices[:, 0] < -0.35].mean(axis=0)
    assert ball[2] > ball[0] + 0.2
    assert box[0] > box[2] + 0.2
