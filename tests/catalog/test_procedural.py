"""The procedural source: recipes are pure and varied, meshes are sound solids, files are reproducible and readable."""

import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from recipe_geometry import world_transforms, world_triangles

from catalog.procedural_families import FAMILIES
from catalog.procedural_meshes import MeshArrays, build_mesh
from catalog.procedural_parts import SHAPES, TEXTURES, Look, ObjectRecipe, Shape, Texture, draw_palette
from catalog.procedural_recipe import recipe
from catalog.procedural_textures import SIDE, texture_png, vertex_colors

REPOSITORY = Path(__file__).resolve().parents[2]
seeds = st.integers(0, 2**63 - 1)
lengths = st.floats(0.03, 2.0)


def extents(description: ObjectRecipe) -> np.ndarray:
    """World-space side lengths of the object's bounding box."""
    return np.ptp(
        np.concatenate([corners.reshape(-1, 3) for corners in world_triangles(description).values()]), axis=0
    )


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_a_recipe_is_a_pure_function_of_its_seed(seed: int) -> None:
    assert recipe(seed) == recipe(seed)
    assert recipe(seed).seed == seed


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_a_recipe_is_well_formed(seed: int) -> None:
    description = recipe(seed)
    names = [*(group.name for group in description.groups), *(part.name for part in description.parts)]
    assert len(set(names)) == len(names)
    assert set(world_transforms(description)) == set(names)
    assert description.roots
    assert len(description.roots) == 1 or "multi-root" in description.tags
    assert description.families[0] in description.title
    assert len(set(description.tags)) == len(description.tags)
    for part in description.parts:
        assert min(part.size) > 0
        assert np.isfinite([*part.position, *part.rotation, part.profile]).all()
        assert 0 <= min(*part.look.color, *part.look.second) <= max(*part.look.color, *part.look.second) <= 1
        assert not (part.look.texture and part.look.vertex_colors)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_an_object_is_light_and_has_a_body(seed: int) -> None:
    description = recipe(seed)
    sides = extents(description)
    assert sides.min() > 0.15 * sides.max()
    assert sum(len(build_mesh(p.shape, p.size, p.profile).vertices) for p in description.parts) < 4000


@pytest.mark.parametrize("axis", [0, 1])
def test_objects_differ_from_their_mirror_image(axis: int) -> None:
    """Left and right, and front and back, differ in place or colour, so that views can be told apart."""
    mirror = np.where(np.arange(3) == axis, -1, 1)
    for seed in range(200):
        description = recipe(seed)
        world = world_transforms(description)
        centres = np.array([world[part.name][:3, 3] for part in description.parts])
        looks = [part.look.color for part in description.parts]
        centres -= (centres.max(axis=0) + centres.min(axis=0)) / 2
        seen = Counter(zip(map(tuple, centres.round(3) + 0.0), looks, strict=True))
        mirrored = Counter(zip(map(tuple, (centres * mirror).round(3) + 0.0), looks, strict=True))
        assert seen != mirrored, description.title


def test_seeds_give_variety() -> None:
    objects = [recipe(seed) for seed in range(60)]
    looks = [part.look for description in objects for part in description.parts]
    assert len({description.families[0] for description in objects}) >= 15
    assert {look.texture for look in looks} == {None, *TEXTURES}
    tags = Counter(tag for description in objects for tag in description.tags)
    for tag in ("textured", "vertex-colored", "metallic", "multi-root", "nested"):
        assert 5 <= tags[tag] < 60, tag
    assert len({description.title for description in objects}) > 50
    assert any(any(part.parent and part.parent.startswith("sphere") for part in d.parts) for d in objects)


def test_every_family_occurs() -> None:
    assert {recipe(seed).families[0] for seed in range(400)} == set(FAMILIES)


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_palette_colors_are_distinct_and_saturated(seed: int) -> None:
    palette = draw_palette(np.random.default_rng(seed))
    assert len(set(palette.names)) == 4
    colors = np.array(palette.colors)
    assert ((colors.max(axis=1) - colors.min(axis=1)) > 0.35).all()
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distances[~np.eye(4, dtype=bool)].min() > 0.15


def signed_volume(mesh: MeshArrays) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@settings(max_examples=150, deadline=None)
@given(shape=st.sampled_from(SHAPES), size=st.tuples(lengths, lengths, lengths), profile=st.floats(0.1, 0.5))
def test_a_primitive_is_a_solid_of_its_size(shape: Shape, size: tuple[float, float, float], profile: float) -> None:
    assume(shape != "arc" or size[1] < 0.9 * min(size[0], size[2] / 2))
    mesh = build_mesh(shape, size, profile)
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
    assert mesh.uvs.shape == (len(mesh.faces), 3, 2)
    assert mesh.uvs.min() >= -1e-9
    assert signed_volume(mesh) > 0, "faces look inwards"
    if shape == "arc":
        return
    assert np.allclose(np.ptp(mesh.vertices, axis=0), size, rtol=1e-5, atol=1e-6)
    _, welded = np.unique(mesh.vertices.round(5), axis=0, return_inverse=True)
    edges = welded.reshape(-1)[mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)]
    edges = edges[edges[:, 0] != edges[:, 1]]
    assert Counter(map(tuple, edges)) == Counter(map(tuple, edges[:, ::-1])), "the surface has holes"


def test_an_arc_too_thick_for_its_bow_is_refused() -> None:
    with pytest.raises(ValueError, match="no room inside its bow"):
        build_mesh("arc", (0.5, 1.0, 1.0), 0.5)


@pytest.mark.parametrize("texture", TEXTURES)
@given(variant=st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_textures_show_both_colors_and_repeat(texture: Texture, variant: int) -> None:
    look = Look((0.9, 0.1, 0.1), (0.1, 0.2, 0.9), texture, variant=variant)
    png = texture_png(look)
    assert png == texture_png(look)
    pixels = np.asarray(Image.open(io.BytesIO(png))).astype(float) / 255
    assert pixels.shape == (SIDE, SIDE, 3)
    for color in (look.color, look.second):
        assert np.abs(pixels - color).max(axis=-1).min() < 0.05
    jumps = np.abs(np.diff(pixels, axis=1, append=pixels[:, :1])).mean(axis=(0, 2))
    # In a periodic picture the seam is one column like the others, and so may by chance be the steepest of the blobs' flanks;
    # a seam between columns that know nothing of each other would jump like columns far apart.
    unrelated = np.abs(pixels - np.roll(pixels, SIDE // 3, axis=1)).mean()
    assert jumps[-1] <= max(jumps[:-1].max() + 0.02, 0.5 * unrelated), "the image does not close on itself"


def test_a_look_without_texture_has_no_image() -> None:
    with pytest.raises(ValueError, match="without a texture"):
        texture_png(Look((1, 0, 0), (1, 0, 0)))


def test_vertex_colors_blend_between_both_colors_in_linear_light() -> None:
    look = Look((1.0, 0.5, 0.0), (0.0, 0.5, 1.0), vertex_colors=True, variant=0)
    colors = vertex_colors(look, build_mesh("sphere", (1, 1, 1), 0.5).vertices)
    assert np.allclose(colors[:, 1], 0.21404, atol=1e-4)
    assert np.allclose(colors[:, 3], 1)
    assert np.allclose([colors[:, 0].min(), colors[:, 0].max()], [0, 1])


COMPOSE = """
import json, sys
from catalog.procedural_worker import compose
folder, seeds = sys.argv[1], json.loads(sys.argv[2])
made = {seed: compose({"uid": f"{folder}-{seed}", "seed": seed, "output": f"{folder}/{seed}.glb"}) for seed in seeds}
print("RESULT" + json.dumps(made))
"""

REOPEN = """
import json, sys
import bpy
found = {}
for path in sys.argv[1:]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=path)
    bpy.context.view_layer.update()
    objects = list(bpy.data.objects)
    meshes = [o for o in objects if o.type == "MESH"]
    corners = [(o.matrix_world @ v.co)[:] for o in meshes for v in o.data.vertices]
    found[path] = {
        "parts": len(meshes),
        "roots": sum(o.parent is None for o in objects),
        "triangles": sum(len(o.data.polygons) for o in meshes),
        "images": sum(tuple(i.size) == (64, 64) and i.has_data for i in bpy.data.images if i.source == "FILE"),
        "colored": sum(bool(o.data.color_attributes) for o in meshes),
        "metallic": sum(m.node_tree.nodes["Principled BSDF"].inputs["Metallic"].default_value > 0.4
                        for m in bpy.data.materials),
        "sides": [max(c[i] for c in corners) - min(c[i] for c in corners) for i in range(3)],
    }
print("RESULT" + json.dumps(found))
"""


def run(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script that uses bpy in its own process; its last line holds the result."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("RESULT")[2])


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("composed")
    made = run(COMPOSE, str(folder), json.dumps(list(range(12))))
    return folder, {int(seed): result for seed, result in made.items()}


def test_files_are_whole_and_small(composed: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    folder, made = composed
    assert {path.name for path in folder.iterdir()} == {f"{seed}.glb" for seed in made}
    for seed, result in made.items():
        description = recipe(seed)
        assert (folder / f"{seed}.glb").stat().st_size < 150_000
        assert result["title"] == description.title
        assert result["tags"] == list(description.tags)
        assert result["families"] == list(description.families)
        assert result["faces"] > 100
        assert result["vertices"] > 100


def test_another_process_writes_the_same_bytes_in_another_order(
    composed: tuple[Path, dict[int, dict[str, Any]]], tmp_path: Path
) -> None:
    folder, made = composed
    again = run(COMPOSE, str(tmp_path), json.dumps(sorted(made, reverse=True)[::2]))
    for seed in again:
        assert (tmp_path / f"{seed}.glb").read_bytes() == (folder / f"{seed}.glb").read_bytes()


def test_blender_reads_back_what_the_recipe_says(composed: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    folder, made = composed
    found = run(REOPEN, *(str(folder / f"{seed}.glb") for seed in made))
    for seed, result in made.items():
        description, read = recipe(seed), found[str(folder / f"{seed}.glb")]
        looks = {part.look for part in description.parts}
        assert read["parts"] == len(description.parts)
        assert read["roots"] == len(description.roots)
        assert read["triangles"] == result["faces"]
        assert read["images"] == sum(look.texture is not None for look in looks)
        assert read["colored"] == sum(part.look.vertex_colors for part in description.parts)
        assert read["metallic"] == sum(look.metallic > 0.4 for look in looks)
        assert np.allclose(read["sides"], extents(description), rtol=1e-4)


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
import json, sys
from pathlib import Path
import catalog.procedural_worker as worker
def fail(path):
    path.write_text("half a file")
    raise OSError("disk full")
worker._export = fail
try:
    worker.compose({"uid": "a", "seed": 1, "output": sys.argv[1]})
except OSError as error:
    print("RESULT" + json.dumps({"error": str(error)}))
"""
    assert run(script, str(tmp_path / "a.glb")) == {"error": "disk full"}
    assert not list(tmp_path.iterdir())
