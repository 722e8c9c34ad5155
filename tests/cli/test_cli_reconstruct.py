"""`viewforge reconstruct` as people start it: every method on a tiny model with random weights, NeuS on four renders."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import trimesh
import typer
from patterned_ball import PatternedBall, ball, modules
from PIL import Image
from typer.testing import CliRunner

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from cli import reconstruct
from cli.reconstruction_run import Wanted, _folder
from cli.reconstruction_sources import Source, SourceOptions
from geometry.cameras import Intrinsics, look_at_origin, spherical_from_position
from stage.errors import InputError, ParameterError
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline

_TINY = Zero123Parameters(
    unet=UNetParameters(block_channels=(32, 32)),
    autoencoder=AutoencoderParameters(factor=4),
    image_encoder=ImageEncoderParameters(
        image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
    ),
)
_FOV, _DISTANCE, _SIZE, _RADIUS = 0.857, 1.5, 24, 0.4
_FAST = ("--frames", "2", "--size", "16")
_TINY_MESH = ("--set", "mesh.resolution=24", "--set", "texture.size=64", "--set", "texture.faces=400")
_TINY_NEUS = ("--small", "--set", "neus.rays=96", "--set", "neus.width=16", "--set", "neus.layers=2", *_TINY_MESH)
_TINY_FIELDS = (
    *("--small", "--set", "sjc.resolution=12", "--set", "sjc.samples=12", "--set", "sds.samples=12"),
    *("--set", "anchored_sds.samples=12", "--set", "anchored_sds.anchor_steps=2", *_TINY_MESH),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a picture, and four renders of a ball that is red towards +X and blue away from it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("workspace")
    modules = build_modules(_TINY, 0)
    modules.unet.register_to_config(sample_size=4)
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler
    ).save_pretrained(root / "data" / "model")
    _write_ball(object_folder(root / "scratch" / "renders", "ball"))
    picture(0.0).save(root / "picture.png")
    return root


def picture(azimuth: float) -> Image.Image:
    """The ball from the horizon."""
    edge = 0.5 * _SIZE / np.tan(0.5 * _FOV)
    across = (np.arange(_SIZE) + 0.5 - 0.5 * _SIZE) / edge
    right, up = np.meshgrid(across, -across)
    # Where rays from (d, 0, 0) meet the ball: t² (1 + u² + v²) − 2td + d² − r² = 0.
    length = 1.0 + right**2 + up**2
    inside = _DISTANCE**2 - length * (_DISTANCE**2 - _RADIUS**2)
    distance = (_DISTANCE - np.sqrt(np.maximum(inside, 0.0))) / length
    forward, side = _DISTANCE - distance, distance * right
    x = forward * np.cos(azimuth) - side * np.sin(azimuth)
    rgba = np.zeros((_SIZE, _SIZE, 4), np.uint8)
    rgba[..., 0], rgba[..., 2] = np.where(x > 0, 230, 30), np.where(x > 0, 30, 230)
    rgba[..., 3] = 255 * (inside > 0)
    return Image.fromarray(rgba)


def _write_ball(folder: Path) -> None:
    folder.mkdir(parents=True)
    lens, azimuths = Intrinsics.from_fov(_FOV, _SIZE), [0.0, 0.5 * np.pi, np.pi, 1.5 * np.pi]
    for number, azimuth in enumerate(azimuths):
        picture(azimuth).save(folder / f"{number:03d}.png")
    write_cameras(folder, [View(look_at_origin(0.5 * np.pi, each, _DISTANCE), lens) for each in azimuths], ())


def frames_in(path: Path) -> int:
    """How many a video has."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def one_line(result: "subprocess.CompletedProcess[str]") -> str:
    """An error that is one line; bars of progress stand before it."""
    assert result.returncode == 1, result.stderr
    lines = [line for line in result.stderr.splitlines() if "Error" in line or line.startswith("viewforge: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sjc", "sds", "anchored-sds"])
def test_a_picture_and_a_model_become_a_film_and_a_textured_mesh(viewforge, workspace, method, tmp_path):
    """Of a random model's field as much as is denser than its mean."""
    out, folders = tmp_path / "model.glb", workspace / "scratch" / "reconstruct"
    before = set(folders.glob("*"))
    result = viewforge(
        *("reconstruct", workspace / "picture.png", "--method", method, "--steps", "2", "--out", out),
        *("--elevation-deg", "10", *_FAST, *_TINY_FIELDS, "--set", "mesh.threshold=1.0"),
        cwd=workspace,
    )
    assert result.returncode == 0, result.stderr
    assert f"reconstruct: {method} of picture, 2 steps" in result.stdout
    assert f"faces in {out}; .ply, .mp4 and .png beside it" in result.stdout
    assert frames_in(out.with_suffix(".mp4")) == 2
    assert Image.open(out.with_suffix(".png")).width > 32
    (folder,) = set(folders.glob(f"picture-{method}-*")) - before
    assert (folder / "checkpoints" / "step-00000002").is_dir()
    glb, ply = trimesh.load(out, force="mesh"), trimesh.load(out.with_suffix(".ply"), process=False)
    assert glb.visual.material.baseColorTexture.size == (64, 64)
    assert ply.is_watertight
    # Upright again, it lies where the PLY lies.
    np.testing.assert_allclose((glb.bounds[:, [0, 2, 1]] * [1, -1, 1])[:, [0, 2]], ply.bounds[:, [0, 2]], atol=0.1)


@pytest.mark.slow
def test_an_empty_field_keeps_its_film(viewforge, workspace, tmp_path):
    out = tmp_path / "model.glb"
    result = viewforge(
        *("reconstruct", workspace / "picture.png", "--method", "sjc", "--steps", "1", "--out", out, "--seed", "3"),
        *(*_FAST, *_TINY_FIELDS, "--set", "mesh.threshold=1000.0"),
        cwd=workspace,
    )
    assert "the field is empty: its density is at most" in one_line(result)
    assert frames_in(out.with_suffix(".mp4")) == 2
    assert not out.exists()
    assert not out.with_suffix(".ply").exists()


def test_rendered_views_become_a_mesh_that_has_their_colours(viewforge, workspace, tmp_path):
    out = tmp_path / "new" / "ball.glb"
    quickly = ("--steps", "150", "--set", "neus.warm_up=0", "--set", "neus.learning_rate=0.01")
    command = ("reconstruct", "ball", *quickly, "--out", out, *_FAST, *_TINY_NEUS)
    result = viewforge(*command, cwd=workspace)
    assert result.returncode == 0, result.stderr
    assert f"faces in {out}" in result.stdout
    ply = trimesh.load(out.with_suffix(".ply"), process=False)
    assert ply.is_watertight
    assert np.abs(ply.bounds).max() < 0.62
    red, _, blue = (ply.visual.vertex_colors[:, channel].astype(int) for channel in range(3))
    front, back = ply.vertices[:, 0] > 0.15, ply.vertices[:, 0] < -0.15
    assert (red - blue)[front].mean() > 20 > -20 > (red - blue)[back].mean()
    # Blender's mesh is Y up in the file and where it was in the world.
    glb = trimesh.load(out, force="mesh")
    assert np.abs(glb.bounds[:, [0, 2, 1]] * [1, -1, 1]).max() == pytest.approx(np.abs(ply.bounds).max(), abs=0.05)
    assert frames_in(out.with_suffix(".mp4")) == 2


@pytest.mark.slow
@pytest.mark.minutes(2)
@pytest.mark.parametrize(
    "given",
    [
        ("ball", *_TINY_NEUS),
        ("picture.png", "--method", "sjc", *_TINY_FIELDS, "--set", "mesh.threshold=1.0"),
    ],
    ids=["neus", "sjc"],
)
def test_a_killed_run_goes_on_and_ends_with_the_same_mesh(viewforge, program_environment, workspace, given, tmp_path):
    command = ("reconstruct", *given, "--steps", "20", "--seed", "7", *_FAST)
    often = ("--set", "loop.checkpoint_every=5", "--set", "loop.preview_every=0")
    folders = workspace / "scratch" / "reconstruct"
    before = set(folders.glob("*"))
    arguments = [sys.executable, "-m", "cli.main", *command, *often, "--out", str(tmp_path / "killed.glb")]
    process = subprocess.Popen(
        arguments, cwd=workspace, env=program_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 400
        while not any((f / "checkpoints" / "step-00000005").is_dir() for f in set(folders.glob("*")) - before):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (folder,) = set(folders.glob("*")) - before
    assert not (folder / "checkpoints" / "step-00000020").exists()
    assert viewforge(*command, *often, "--out", tmp_path / "killed.glb", cwd=workspace).returncode == 0
    folder.rename(tmp_path / "gone")
    assert viewforge(*command, *often, "--out", tmp_path / "whole.glb", cwd=workspace).returncode == 0
    for ending in ("ply", "mp4"):
        assert (tmp_path / f"killed.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()


@pytest.mark.slow
def test_a_picture_becomes_an_orbit_of_which_neus_learns(viewforge, workspace, tmp_path):
    """What a random model samples has no surface that is worth looking at; what is kept is."""
    out = tmp_path / "orbit.glb"
    command = ("reconstruct", "picture.png", "--views", "4", "--sampling-steps", "2", "--steps", "2", "--out", out)
    result = viewforge(*command, *_FAST, *_TINY_NEUS, cwd=workspace)
    (folder,) = (workspace / "scratch" / "reconstruct").glob("picture-neus-*")
    assert sorted(path.name for path in (folder / "views").glob("*.png")) == [f"{n:03d}.png" for n in range(4)]
    assert (folder / "views" / "transforms.json").is_file()
    assert (folder / "checkpoints" / "step-00000002").is_dir()
    assert frames_in(out.with_suffix(".mp4")) == 2
    if result.returncode:
        assert "the field is empty" in one_line(result)
    else:
        assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ball", "--out", "model.obj"), r"\.glb"),
        (("ball", "--set", "neus.ray=3"), r"did you mean rays\?"),
        (("ball", "--method", "neus", "--set", "method=sds"), "beside --method neus"),
        (("ball", "--size", "33"), "even"),
        (("ball", "--method", "sjc", "--view", "9"), "has no view 9; take one from 0 to 3"),
        (("../ball",), "no picture, no folder"),
        (("ball", "--set", "device=none"), "device none"),
    ],
)
def test_mistakes_name_their_remedy(workspace, monkeypatch, arguments, words):
    monkeypatch.chdir(workspace)
    app = typer.Typer()
    reconstruct.add_to(app)
    with pytest.raises((InputError, ParameterError), match=words):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_what_is_not_there_is_one_line(viewforge, workspace):
    line = one_line(viewforge("reconstruct", "nothing.png", cwd=workspace))
    assert "nothing.png is no picture, no folder with a transforms.json, and no object that . rendered" in line


@pytest.mark.slow
def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(viewforge, workspace, tmp_path):
    command = ("reconstruct", "ball", "--steps", "6", "--out", tmp_path / "model.glb", *_FAST, *_TINY_NEUS)
    folders = workspace / "scratch" / "reconstruct"
    before = set(folders.glob("*"))
    diverging = ("--set", "neus.learning_rate=1.0e+30", "--set", "neus.warm_up=0", "--set", "loop.checkpoint_every=1")
    result = viewforge(*command, *diverging, cwd=workspace)
    line = one_line(result)
    assert "neus of ball, step" in line
    assert "lower its learning rate" in line
    assert not (tmp_path / "model.glb").exists()
    (folder,) = set(folders.glob("ball-neus-*")) - before
    assert any(path.is_dir() for path in (folder / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_too_little_memory_says_what_to_lower(viewforge, workspace, tmp_path):
    """More pixels than an address space has bytes."""
    command = ("reconstruct", "ball", "--steps", "2", "--out", tmp_path / "model.glb", *_FAST, *_TINY_NEUS)
    result = viewforge(*command, "--set", "neus.rays=1000000000000000", cwd=workspace)
    line = one_line(result)
    assert "neus of ball, step 0: out of memory; lower neus.rays, neus.samples or neus.fine_samples; no check" in line


def options(**changes) -> SourceOptions:
    """Of a picture without anything that is asked for."""
    given = {
        **{"source": "picture.png", "model": None, "foreground": "alpha", "framing": None, "elevation": None},
        **{"elevation_model": None, "scale": None, "view": 0, "views": 36, "sampling_steps": 2},
        **{"sampling_guidance": 3.0, "seed": 0},
    }
    return SourceOptions(**given | changes)


def test_the_elevation_is_estimated_once_and_told_each_time(workspace, tmp_path, capsys):
    """A model that turns the object as well as any could."""
    pixels = np.moveaxis(ball(0.0, 0.0), 0, -1)
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(tmp_path / "ball.png")
    chosen = options(source=str(tmp_path / "ball.png"), foreground="none", elevation="estimate", distance=1.8)
    source = Source.found(chosen, Workspace(workspace), torch.device("cpu"))
    view = source._input(PatternedBall(*modules()), tmp_path / "run")
    polar, azimuth, radius = spherical_from_position(view.camera.c2w[:3, 3])
    assert 90.0 - np.rad2deg(polar) == pytest.approx(30.0, abs=3.0)
    assert (azimuth, radius) == pytest.approx((0.0, 1.8))
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "elevation" in line]
    assert said.startswith(tuple(f"reconstruct: elevation {degrees}° (" for degrees in range(27, 34)))
    assert "not confident" not in said

    class Silent(PatternedBall):
        def __call__(self, *_, **__):
            raise AssertionError("asked again")

    again = source._input(Silent(*modules()), tmp_path / "run")
    np.testing.assert_array_equal(again.camera.c2w, view.camera.c2w)
    assert said in capsys.readouterr().out


def test_a_camera_stands_where_it_is_said_to(workspace):
    for changes, expected in (({}, (90.0, 1.5)), ({"elevation": "20", "distance": 2.5}, (70.0, 2.5))):
        source = Source.found(options(source=str(workspace / "picture.png"), **changes), Workspace(workspace), "cpu")
        view = source._input(PatternedBall(*modules()), workspace / f"run {len(changes)}")
        polar, _, radius = spherical_from_position(view.camera.c2w[:3, 3])
        assert (np.rad2deg(polar), radius) == pytest.approx(expected)


def test_whatever_the_field_follows_from_has_a_folder_of_its_own(workspace, tmp_path):
    """Weights, picture, rates, camera; not how the mesh is made of it."""
    model = shutil.copytree(workspace / "data" / "model", tmp_path / "model")
    shown = shutil.copy(workspace / "picture.png", tmp_path / "picture.png")

    def folder(*assignments: str, **changes: object) -> Path:
        wanted = Wanted("sjc", tmp_path / "model.glb", None, True, 2, 16, 0, assignments)
        source = Source.found(options(source=str(shown), model=model, **changes), Workspace(workspace), "cpu")
        return _folder(source.workspace, source, wanted.parameters(source.workspace))

    first = folder()
    assert folder("mesh.resolution=32", "texture.size=64", "mesh.pooling=0.0") == first
    others = [folder("sjc.learning_rate=0.1"), folder("loop.steps=7"), folder(distance=2.0), folder(elevation="5")]
    (weights,) = (model / "unet").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    others.append(folder())
    picture(0.3).save(shown)
    others.append(folder())
    assert len({first, *others}) == 1 + len(others)
