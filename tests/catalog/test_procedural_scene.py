"""Rooms: recipes are pure, furnished without collisions and closed; files are reproducible and say what the recipe says."""

import json
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_geometry import winding_number, world_triangles

from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.procedural_families import FAMILIES
from catalog.procedural_furnishing import FEWEST, MOST
from catalog.procedural_parts import ObjectRecipe
from catalog.procedural_scene import scene_recipe
from catalog.table import read_table, with_files
from stage.executor import ExecutorParameters
from stage.files import file_sha256
from stage.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
seeds = st.integers(0, 2**63 - 1)


def objects_of(description: ObjectRecipe) -> dict[str, np.ndarray]:
    """All corners [N, 3] of each object in a room, by the name of its group."""
    triangles = world_triangles(description)
    return {
        group.name: np.concatenate(
            [corners.reshape(-1, 3) for name, corners in triangles.items() if name.startswith(f"{group.name}-")]
        )
        for group in description.groups
    }


def shell_of(description: ObjectRecipe) -> np.ndarray:
    """Triangles of what belongs to no object: walls, floor, ceiling and what is on them."""
    triangles = world_triangles(description)
    return np.concatenate([t for name, t in triangles.items() if not name.startswith("object-")])


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_a_scene_is_a_pure_function_of_its_seed(seed: int) -> None:
    description = scene_recipe(seed)
    assert scene_recipe(seed) == description
    names = [*(group.name for group in description.groups), *(part.name for part in description.parts)]
    assert len(set(names)) == len(names)


@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_several_different_objects_stand_on_the_floor_apart_from_each_other_and_the_walls(seed: int) -> None:
    description = scene_recipe(seed)
    objects = objects_of(description)
    families = [tag for tag in description.tags if tag in FAMILIES]
    assert FEWEST <= len(objects) == len(families) == len(set(families)) <= MOST
    shell = shell_of(description).reshape(-1, 3)
    # Walls are thinner than the room's corners are far from what hangs on them.
    reach = np.abs(shell[:, :2]).max(axis=0) - 0.12
    for corners in objects.values():
        assert corners[:, 2].min() == pytest.approx(0, abs=1e-6)
        assert (np.abs(corners[:, :2]).max(axis=0) < reach).all()
        assert corners[:, 2].max() < shell[:, 2].max() - 0.2
    for one, other in combinations(objects.values(), 2):
        assert separated(one[:, :2], other[:, :2])


def separated(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a line on the floor has all of one object on its one side and all of the other on its other."""
    angles = np.linspace(0, np.pi, 180, endpoint=False)
    axes = np.stack([np.cos(angles), np.sin(angles)])
    first, second = one @ axes, other @ axes
    gaps = np.maximum(second.min(axis=0) - first.max(axis=0), first.min(axis=0) - second.max(axis=0))
    return bool((gaps > 0).any())


@settings(max_examples=2, deadline=None)
@given(seed=seeds)
def test_the_room_is_free_in_its_middle_and_has_four_walls_of_their_own_colours(seed: int) -> None:
    description = scene_recipe(seed)
    shell = shell_of(description)
    assert winding_number(np.array([0.0, 0.0, 1.0]), shell) == pytest.approx(0, abs=1e-6)
    assert winding_number(np.array([0.0, 0.0, -0.05]), shell) > 0.99, "in the floor, or this test could not fail"
    loose = [part for part in description.parts if part.parent is None and part.shape == "box"]
    walls = [part for part in loose if part.position[2] > 0.5 and abs(part.position[0]) + abs(part.position[1]) > 1]
    assert len(walls) == len({wall.look.color for wall in walls}) == 4
    assert any(part.look.emission > 1 for part in description.parts), "something lights the room"


COMPOSE = """
import json, sys
from catalog.procedural_worker import compose
folder, seeds = sys.argv[1], json.loads(sys.argv[2])
made = {s: compose({"uid": str(s), "source": "scene", "seed": s, "output": f"{folder}/{s}.glb"}) for s in seeds}
import bpy
for seed in seeds:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=f"{folder}/{seed}.glb")
    bpy.context.view_layer.update()
    corners = {o.name: [(o.matrix_world @ v.co)[:] for v in o.data.vertices] for o in bpy.data.objects if o.type == "MESH"}
    made[seed]["boxes"] = {n: [[f(c[i] for c in p) for i in range(3)] for f in (min, max)] for n, p in corners.items()}
    shaders = [m.node_tree.nodes["Principled BSDF"].inputs for m in bpy.data.materials]
    made[seed]["emission"] = max(s["Emission Strength"].default_value for s in shaders)
print("RESULT" + json.dumps(made))
"""


def composed(folder: Path, *seeds: int) -> dict[int, dict[str, Any]]:
    """Rooms made, and read back by Blender, in a process of its own."""
    command = [sys.executable, "-c", COMPOSE, str(folder), json.dumps(seeds)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {int(seed): found for seed, found in json.loads(done.stdout.rpartition("RESULT")[2]).items()}


def test_another_process_writes_the_same_bytes_and_they_say_what_the_recipe_says(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    composed(first, 0, 1)
    for seed, found in composed(second, 1, 0).items():
        assert (first / f"{seed}.glb").read_bytes() == (second / f"{seed}.glb").read_bytes()
        triangles = world_triangles(scene_recipe(seed))
        assert sorted(found["boxes"]) == sorted(triangles)
        for name, (low, high) in found["boxes"].items():
            corners = triangles[name].reshape(-1, 3)
            np.testing.assert_allclose([low, high], [corners.min(axis=0), corners.max(axis=0)], atol=1e-4)
        assert found["emission"] == max(part.look.emission for part in scene_recipe(seed).parts)


def test_the_catalogue_lists_rooms_and_brings_them_back_from_their_packs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    parameters = CatalogParameters(source="scene", objects=2, packs=1, executor=ExecutorParameters(workers=1))
    assets = build_catalog(parameters, 0, workspace)
    assert read_table(workspace.catalog / "catalog.parquet") == assets
    assert [asset.source for asset in assets] == ["scene", "scene"]
    assert all("room" in asset.tags for asset in assets)
    shutil.rmtree(workspace.scratch)
    assert [file_sha256(asset.location(workspace)) for asset in with_files(assets, workspace)] == [
        asset.sha256 for asset in assets
    ]
