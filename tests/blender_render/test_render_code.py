"""Which code counts: everything of ours that a worker runs and that decides what it makes or refuses."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from blender_render import splatter, splatter_refinement, surfaces
from blender_render.farm import RENDER_CODE

# Parameters are in the fingerprint by value; files, failures and errors decide nothing that is seen.
_BY_VALUE = {"blender_render.parameters", "geometry.refinement_settings"}


def imported(module: str, known: set[str]) -> set[str]:
    """Modules of the rooms that draw, which `module` imports directly or not."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith(("blender_render.", "geometry.")) and name not in known and _is_module(name):
                known.add(name)
                imported(name, known)
    return known


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(
    ("worker", "counted"),
    [
        ("blender_render.worker", RENDER_CODE),
        ("blender_render.splatter_worker", splatter._CODE),
        ("blender_render.splatter_refinement_worker", splatter_refinement._CODE),
        ("blender_render.surface_worker", surfaces._CODE),
    ],
)
def test_every_module_that_a_worker_runs_is_in_its_fingerprint(worker: str, counted: tuple[str, ...]) -> None:
    assert imported(worker, {worker}) - _BY_VALUE - set(counted) == set()
