"""`viewforge splatter view`, `convert` and `mesh` as a person calls them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from geometry.gaussians import Gaussians
from geometry.ply import read_ply, write_ply
from viewing.installation import install


@pytest.fixture
def ball(tmp_path):
    """A file of Gaussians on a sphere."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 3))
    means /= 2 * np.linalg.norm(means, axis=1, keepdims=True)
    turns = np.tile([1.0, 0.0, 0.0, 0.0], (200, 1))
    write_ply(tmp_path / "ball.ply", Gaussians(means, turns, np.full((200, 3), 0.05), np.full(200, 0.9), means + 0.5))
    return tmp_path / "ball.ply"


def assert_one_line(result, *words):
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("viewforge: ")
    for word in words:
        assert word in line


def test_view_writes_what_it_says(viewforge, ball):
    result = viewforge("splatter", "view", ball, "--frames", 2, "--size", 32, cwd=ball.parent)
    assert result.returncode == 0, result.stderr
    folder = ball.parent / "scratch" / "view" / "ball"
    assert "view: 200 Gaussians in scratch/view/ball/orbit.mp4 and scratch/view/ball/sheet.png" in result.stdout
    assert (folder / "orbit.mp4").is_file()
    assert (folder / "sheet.png").is_file()
    if (folder / "viewer.html").is_file():
        assert f"view: open {(folder / 'viewer.html').as_uri()}" in result.stdout
    else:
        assert "view: no page for the browser: " in result.stdout
        assert "python -m viewing.installation" in result.stdout


def test_mistakes_are_one_line(viewforge, ball):
    assert_one_line(viewforge("splatter", "view", ball, "--size", 33), "--size is 33", "try 34")
    assert_one_line(
        viewforge("splatter", "view", "nobody", cwd=ball.parent), "nobody is no file", "viewforge splatter"
    )
    ball.write_bytes(ball.read_bytes()[:-5])
    assert_one_line(viewforge("splatter", "convert", ball, ball.with_suffix(".sog")), "ball.ply")


def test_a_mesh_is_written_or_the_file_of_before_stays(viewforge, ball):
    small = ["--resolution", 16, "--views", 8, "--view-size", 32, "--faces", 300, "--texture-size", 64]
    result = viewforge("splatter", "mesh", ball, "--out", ball.with_name("ball.glb"), *small)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mesh: 300 of ")
    assert "closed" in result.stdout
    assert ball.with_name("ball.glb").read_bytes()[:4] == b"glTF"
    before = ball.with_name("ball.glb").read_bytes()
    write_ply(ball, replace(read_ply(ball), opacities=np.full(200, 0.001)))
    assert_one_line(viewforge("splatter", "mesh", ball, "--out", ball.with_name("ball.glb"), *small), "transparent")
    assert ball.with_name("ball.glb").read_bytes() == before


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")
def test_convert_there_and_back(viewforge, ball):
    install()
    packed, back = ball.with_suffix(".spz"), ball.with_name("back.ply")
    result = viewforge("splatter", "convert", ball, packed)
    assert result.stdout == f"convert: 200 Gaussians, {packed} has {packed.stat().st_size:,} bytes\n", result.stderr
    assert viewforge("splatter", "convert", packed, back).returncode == 0
    np.testing.assert_allclose(read_ply(back).means, read_ply(ball).means, atol=1 / 4096)
    packed.write_bytes(packed.read_bytes()[:99])
    assert_one_line(viewforge("splatter", "convert", packed, back), "ball.spz: splat-transform failed")
