"""Meshes of densities: the right level, colours from the field or from its pictures, files, and errors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin
from reconstruction import reconstruct as reconstruct_module
from reconstruction.field_colours import painted
from reconstruction.field_mesh import cleaned, colours_of, mesh_of, odd_count
from reconstruction.field_orbit import orbit
from reconstruction.fields.field import box_about_origin
from reconstruction.fields.voxel_field import VoxelField
from reconstruction.marching.picture import picture_of
from reconstruction.optimisation.parameters import FieldMeshParameters, ReconstructParameters
from reconstruction.parameters import TextureParameters
from reconstruction.reconstruct import coloured_mesh, seen_in_place, write_files
from stage.errors import InputError, StageFailedError

RADIUS = 0.35
MESH = FieldMeshParameters(resolution=48, threshold=3.0)


def ball(colours: str = "rgb", resolution: int = 40) -> VoxelField:
    """A dense ball whose colour's logits are the place: red towards +X, blue above."""
    torch.set_num_threads(1)
    field = VoxelField(box_about_origin(), resolution, shift=0.0, colours=colours)
    axis = torch.linspace(-0.6, 0.6, resolution)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    with torch.no_grad():
        field.density_values[0, 0] = 400.0 * (RADIUS - torch.stack([x, y, z]).norm(dim=0))
        field.feature_values[0] = 10.0 * torch.stack([x, y, z])
    return field


def test_a_ball_of_density_has_its_radius_and_colours():
    field = ball()
    mesh = mesh_of(field, MESH)
    density = field.density(torch.zeros(1, 3)).item()
    assert density == pytest.approx(400.0 * RADIUS, rel=0.1)
    # The mean of 400·(R − r) from −1 to 1, whatever the box; three of which lie at this radius.
    mean = 400.0 * np.pi * RADIUS**4 / 3 / 2.0**3
    expected = RADIUS - 3.0 * mean / 400.0
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.mean() == pytest.approx(expected, abs=0.004)
    assert radii.std() < 0.004
    assert mesh.is_watertight
    assert mesh.volume > 0.0
    np.testing.assert_allclose(mesh.colours, 1 / (1 + np.exp(-10.0 * mesh.vertices)), atol=0.03)
    np.testing.assert_array_equal(mesh.colours, colours_of(field, mesh.vertices))


def test_the_threshold_does_not_know_the_box():
    """The same ball in two boxes is the same mesh, but for where the grid's points lie."""
    radii = []
    for half in (0.5, 0.9):
        field = VoxelField(box_about_origin(half), 60, shift=0.0)
        axis = torch.linspace(-half, half, 60)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        with torch.no_grad():
            field.density_values[0, 0] = 400.0 * (RADIUS - torch.stack([x, y, z]).norm(dim=0))
        mesh = mesh_of(field, FieldMeshParameters(resolution=48, threshold=8.0))
        radii.append(np.linalg.norm(mesh.vertices, axis=1).mean())
    assert radii[0] == pytest.approx(radii[1], abs=0.005)


def test_a_field_that_fills_its_box_is_closed_by_it():
    field = VoxelField(box_about_origin(), 4, shift=5.0)
    mesh = mesh_of(field, FieldMeshParameters(resolution=16, threshold=0.5))
    assert mesh.is_watertight
    np.testing.assert_allclose(np.abs(mesh.bounds), 0.6, atol=1.2 / 16)


def test_an_empty_field_is_told():
    with pytest.raises(InputError, match=r"the field is empty: its density is at most 0\.3.*mesh\.threshold"):
        mesh_of(VoxelField(box_about_origin(), 4), FieldMeshParameters(resolution=16))


def test_densities_are_averaged_and_then_eroded():
    """7 and 5 samples of 200 from −1 to 1: of one sample of 343 a cube of 7 is left whose values are 1, and of that one of 3."""
    density = np.zeros((15, 15, 15), dtype=np.float32)
    density[7, 7, 7] = 7.0**3
    published = ReconstructParameters(method="sjc").mesh
    assert published.resolution == 200
    left = cleaned(density, 2.0 / 200, published)
    expected = np.zeros_like(density)
    expected[6:9, 6:9, 6:9] = 1.0
    np.testing.assert_allclose(left, expected, atol=1e-6)
    np.testing.assert_array_equal(cleaned(density, 2.0 / 200, FieldMeshParameters()), density)


def test_only_sjc_is_averaged_and_its_widths_are_no_numbers_of_samples():
    assert ReconstructParameters(method="neus").mesh == FieldMeshParameters()
    assert ReconstructParameters(method="sds").mesh == FieldMeshParameters(threshold=None)
    coarse = ReconstructParameters(method="sjc", mesh=FieldMeshParameters(resolution=96)).mesh
    assert (coarse.resolution, coarse.pooling, coarse.erosion) == (96, 0.07, 0.05)
    assert ReconstructParameters.model_validate({"method": "sjc", "mesh": {"pooling": 0.0}}).mesh.pooling == 0.0
    assert [odd_count(0.07, edge) for edge in (0.01, 2.0 / 96, 0.1)] == [7, 3, 1]
    assert odd_count(0.0, 0.01) == 1


@pytest.mark.parametrize("most", [4.0, 20.0, 100.0])
def test_without_a_threshold_the_surface_has_the_outline_that_is_seen(most):
    """A soft ball of density most·(1 − r/R): the fainter it is, the smaller it looks, and so is its mesh."""
    field = VoxelField(box_about_origin(), 60, shift=0.0)
    axis = torch.linspace(-0.6, 0.6, 60)
    radii = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    with torch.no_grad():
        # softplus(x) is x where it is large, and a density of 0.007 at −5.
        field.density_values[0, 0] = (most * (1.0 - radii / 0.5)).clamp(min=-5.0)
    mesh = mesh_of(field, FieldMeshParameters(resolution=64, threshold=None))
    rays = torch.linspace(-0.6, 0.6, 400)
    for offset in np.linspace(0.0, 0.6, 600):
        points = torch.stack([rays, torch.full_like(rays, offset), torch.zeros_like(rays)], dim=-1)
        if field.density(points).mean() * 1.2 < np.log(2.0):
            break
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(offset, abs=0.02)


def test_what_is_nowhere_opaque_has_no_outline():
    with pytest.raises(InputError, match=r"the field is empty: its density is at most 0\.3.*would lie at inf"):
        mesh_of(VoxelField(box_about_origin(), 4), FieldMeshParameters(resolution=16, threshold=None))


def test_noise_between_voxels_is_no_surface():
    """A voxel in fifty is dense by chance, as SJC leaves them."""
    field = VoxelField(box_about_origin(1.0), 50, shift=-8.0)
    axis = torch.linspace(-1.0, 1.0, 50)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    noise = torch.rand(50, 50, 50, generator=torch.Generator().manual_seed(0)) < 0.02
    with torch.no_grad():
        field.density_values[0, 0] = 60.0 * ((torch.stack([x, y, z]).norm(dim=0) < 0.5) | noise)
    rough = FieldMeshParameters(resolution=100, threshold=4.0, least_component=0.0)
    smooth = rough.model_copy(update={"pooling": 0.07, "erosion": 0.05})
    assert mesh_of(field, rough).components().max() > 100
    mesh = mesh_of(field, smooth)
    assert mesh.components().max() == 0
    assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(0.48, abs=0.02)


def test_a_field_that_is_not_finite_is_told():
    field = ball()
    with torch.no_grad():
        field.density_values[0, 0, 20, 20, 20] = torch.nan
    with pytest.raises(StageFailedError, match=r"the field is not finite at \d+ of \d+ points, so it has no surface"):
        mesh_of(field, MESH)


def test_meshes_and_cameras_are_in_the_objects_world():
    """A field whose world is twice as large."""
    asked = []
    task = SimpleNamespace(name="sjc", subject="ball", field=ball(), scale=2.0, seen=asked.append)
    mesh = coloured_mesh(task, MESH)
    np.testing.assert_allclose(mesh.vertices, mesh_of(task.field, MESH).vertices / 2.0)
    assert mesh.colours is not None
    camera = View(look_at_origin(1.0, 2.0, 1.5), Intrinsics.from_fov(0.857, 16))
    seen_in_place(task)(camera)
    np.testing.assert_allclose(asked[0].c2w, look_at_origin(1.0, 2.0, 3.0), atol=1e-12)


def test_latents_are_coloured_by_pictures():
    """Each picture shows colours that a model would have decoded; here those of the same ball of RGB."""
    shown, field = ball(), VoxelField(box_about_origin(), 40, channels=4, shift=0.0, colours="latent")
    with torch.no_grad():
        field.density_values.copy_(shown.density_values)
    plain = mesh_of(field, MESH)
    assert plain.colours is None

    def seen(camera: View) -> torch.Tensor:
        return picture_of(shown, camera, 96, torch.ones(3)).features.permute(2, 0, 1)

    mesh = painted(plain, field, seen, size=48)
    assert np.abs(mesh.colours - colours_of(shown, mesh.vertices)).mean() < 0.04


def test_one_turn_is_seen():
    field = ball()
    frames = list(orbit(lambda camera: picture_of(field, camera, 48, torch.ones(3)).features.permute(2, 0, 1), 4, 24))
    assert [frame.shape for frame in frames] == [(24, 24, 3)] * 4
    middles = np.stack([frame[12, 12] for frame in frames]).astype(int)
    # From +X it is red, from −X it is not; white around it.
    assert middles[0, 0] > 200 > 60 > middles[2, 0]
    assert middles[1, 1] > 200 > 60 > middles[3, 1]
    assert (frames[0][0, 0] == 255).all()


def test_an_open_surface_is_written_and_told(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(reconstruct_module, "write_textured", lambda path, *_: written.append(path))
    mesh = mesh_of(ball(), MESH)
    with pytest.raises(
        StageFailedError, match=r"model\.glb: the surface is open along 3 edges .* written all the same"
    ):
        write_files(tmp_path / "model.glb", mesh.select_faces(np.arange(1, len(mesh.faces))), TextureParameters())
    assert written == [tmp_path / "model.glb"]
    assert len(trimesh.load(tmp_path / "model.ply", process=False).faces) == len(mesh.faces) - 1


def test_the_ply_is_there_should_blender_fail(tmp_path, monkeypatch):
    def failing(path, mesh, parameters):
        raise StageFailedError(f"{path}: Blender failed")

    monkeypatch.setattr(reconstruct_module, "write_textured", failing)
    mesh = mesh_of(ball(), MESH)
    with pytest.raises(StageFailedError, match="Blender failed"):
        write_files(tmp_path / "model.glb", mesh, TextureParameters())
    read = trimesh.load(tmp_path / "model.ply", process=False)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3] / 255.0, mesh.colours, atol=0.5 / 255 + 1e-6)
    with pytest.raises(InputError, match=r"\.glb"):
        write_files(tmp_path / "model.obj", mesh, TextureParameters())
