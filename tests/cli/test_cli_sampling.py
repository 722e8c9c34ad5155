"""`viewforge sample` on tiny pipelines with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from cli import sampling
from geometry.cameras import look_at_origin
from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.zero123.modules import build_modules
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.pipeline import ZeroNvsPipeline

_TINY = Zero123Parameters(
    unet=UNetParameters(block_channels=(32, 32)),
    autoencoder=AutoencoderParameters(factor=4),
    image_encoder=ImageEncoderParameters(
        image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
    ),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    modules = build_modules(_TINY, 0)
    modules.unet.register_to_config(sample_size=4)
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def sampled(model: Path, tmp_path: Path):
    """The sheet that a command line gives of a half-transparent picture."""
    rgba = np.full((24, 24, 4), (200, 40, 40, 128), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "picture.png")

    def run(*options: str) -> np.ndarray:
        app, sheet = typer.Typer(), tmp_path / "sheet.png"
        sampling.add_to(app)
        arguments = [tmp_path / "picture.png", "--model", model, "-o", sheet, "--steps", "4"]
        arguments += ["--foreground", "none", *options]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return np.asarray(Image.open(sheet)).astype(int)

    return run


def test_the_input_stands_before_the_views(sampled):
    sheet = sampled("--azimuth-deg", "30", "--azimuth-deg", "90", "--polar-deg", "-10")
    assert sheet.shape == (16, 48, 3)
    # 200 · 128/255 + 255 · 127/255 = 227, and 40 alike 147.
    assert np.abs(sheet[:, :16] - [227, 147, 147]).max() <= 1
    assert np.abs(sheet[:, 16:32] - sheet[:, 32:]).max() > 8


def test_options_reach_the_sampler(sampled):
    plain = sampled("--azimuth-deg", "30")
    assert np.array_equal(plain, sampled("--azimuth-deg", "30", "--scheduler", "ddim"))
    for options in (["--scheduler", "dpm"], ["--scheduler", "euler_ancestral"], ["--eta", "1"], ["--drop-first-step"]):
        assert np.abs(plain[:, 16:] - sampled("--azimuth-deg", "30", *options)[:, 16:]).max() > 2
    assert np.array_equal(sampled("--azimuth-deg", "30", "--background", "zero_alpha")[0, 0], [200, 40, 40])
    assert np.abs(plain - sampled("--azimuth-deg", "30", "--batch-size", "1")).max() <= 1


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ZeroNVS of two modes."""
    folders = {}
    for mode, dimensions in (("7dof_quantile_scale", 19), ("3dof", 4)):
        folders[mode] = tmp_path_factory.mktemp("scenes") / mode
        parts = build_modules(_TINY, 0, dimensions)
        parts.unet.register_to_config(sample_size=4)
        ZeroNvsPipeline(
            parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler, mode
        ).save_pretrained(folders[mode])
    return folders


def expected(folder: Path, targets: np.ndarray, condition: np.ndarray, **given: float | list[float]) -> np.ndarray:
    """The sheet's views, by the pipeline itself, of the plain picture that `sampled` gives."""
    pipeline = load_pipeline(folder)
    picture = torch.tensor([227, 147, 147]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16) / 127.5 - 1
    views = pipeline(
        picture,
        targets,
        condition,
        guidance_scale=1.0,
        num_inference_steps=4,
        eta=0.0,
        generator=torch.Generator().manual_seed(0),
        **given,
    ).images
    return (views.permute(2, 0, 3, 1).flatten(1, 2) * 255).round().int().numpy()


QUANTILE = ("--fov-deg", "55", "--scale", "0.7")


def test_turns_about_a_centre_before_the_camera(sampled, scenes: dict[str, Path]):
    folder = scenes["7dof_quantile_scale"]
    sheet = sampled(
        *("--model", folder, "--azimuth-deg", "30", "--azimuth-deg", "-90", "--polar-deg", "-10", "--radius", "0.5"),
        *("--distance", "2", "--elevation-deg", "20", *QUANTILE),
    )
    targets = np.stack([look_at_origin(np.deg2rad(60), np.deg2rad(turn), 2.5) for turn in (30, -90)])
    wanted = expected(folder, targets, look_at_origin(np.deg2rad(70), 0, 2), fov=np.deg2rad(55), scale=0.7)
    assert np.abs(sheet[:, 16:] - wanted).max() <= 1


def test_cameras_of_a_list_are_seen_from_the_identity(sampled, scenes: dict[str, Path], tmp_path: Path):
    folder, moved = scenes["7dof_quantile_scale"], np.eye(4)
    moved[:3, 3] = 0.125
    (tmp_path / "cameras.json").write_text(json.dumps([moved.tolist()]))
    sheet = sampled("--model", folder, "--cameras", tmp_path / "cameras.json", *QUANTILE)
    wanted = expected(folder, moved, np.eye(4), fov=np.deg2rad(55), scale=0.7)
    assert np.abs(sheet[:, 16:] - wanted).max() <= 1


def test_a_transforms_file_tells_the_inputs_camera_and_the_lenses(sampled, scenes: dict[str, Path], tmp_path: Path):
    folder = scenes["7dof_quantile_scale"]
    c2w = [look_at_origin(1.0, 0.4 * number, 1.6) for number in range(3)]
    # A picture twice as wide as it is high: its middle has the field of view of its height, 2·atan(8 / 16).
    frames = [{"file_path": f"{n}.png", "transform_matrix": camera.tolist()} for n, camera in enumerate(c2w)]
    document = {"fl_x": 16.0, "fl_y": 16.0, "w": 32, "h": 16, "camera_angle_x": np.pi / 2, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    sheet = sampled(
        *("--model", folder, "--cameras", tmp_path / "transforms.json", "--input-frame", "1", "--scale", "0.7")
    )
    wanted = expected(folder, np.stack([c2w[0], c2w[2]]), c2w[1], fov=2 * np.arctan(0.5), scale=0.7)
    assert np.abs(sheet[:, 16:] - wanted).max() <= 1


def test_positions_on_a_sphere_need_neither_lens_nor_scale(sampled, scenes: dict[str, Path]):
    sheet = sampled("--model", scenes["3dof"], "--azimuth-deg", "30", "--distance", "2")
    assert sheet.shape == (16, 32, 3)


@pytest.mark.parametrize(
    ("system", "options", "named"),
    [
        (
            "object",
            ["--azimuth-deg", "3", "--fov-deg", "50"],
            "--fov-deg belongs to ZeroNVS, and the model is a Zero123",
        ),
        ("object", ["--cameras", "cameras.json"], "--cameras belongs to ZeroNVS"),
        ("object", [], "no view is asked for; give --azimuth-deg"),
        ("scene", [*QUANTILE], "no view is asked for; give --cameras, or --azimuth-deg and --distance"),
        ("scene", ["--azimuth-deg", "3", *QUANTILE], "give --distance"),
        ("scene", ["--azimuth-deg", "3", "--distance", "-1", *QUANTILE], "give a positive distance"),
        ("scene", ["--azimuth-deg", "3", "--distance", "1", "--scale", "1"], "field of view; give --fov-deg"),
        (
            "scene",
            ["--azimuth-deg", "3", "--distance", "1", "--fov-deg", "50"],
            "needs the scene's scale; give --scale",
        ),
        (
            "scene",
            ["--cameras", "c.json", "--polar-deg", "3", *QUANTILE],
            "--polar-deg has no meaning beside --cameras",
        ),
        ("scene", ["--azimuth-deg", "3", "--input-frame", "0", *QUANTILE], "--input-frame is a camera of the file"),
        ("scene", ["--cameras", "absent.json", *QUANTILE], "no file absent.json"),
        ("sphere", ["--azimuth-deg", "3", "--distance", "1", "--scale", "1"], "--scale is nothing to .* 3dof"),
        ("sphere", ["--azimuth-deg", "3", "--distance", "1", "--fov-deg", "1"], "--fov-deg is nothing to .* 3dof"),
        ("sphere", ["--cameras", "c.json"], "give --input-frame"),
    ],
)
def test_options_that_are_missing_or_another_systems_are_one_line(
    sampled, model: Path, scenes: dict[str, Path], system: str, options: list[str], named: str
):
    folders = {"object": model, "scene": scenes["7dof_quantile_scale"], "sphere": scenes["3dof"]}
    with pytest.raises(InputError, match=named) as caught:
        sampled("--model", folders[system], *options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "named"),
    [
        ("{", (), "is not JSON"),
        ("[]", (), "holds no cameras"),
        ('{"frames": []}', (), "holds no cameras"),
        ("[[1, 2]]", (), "camera 0 is no 4×4 matrix; give a JSON list"),
        ('{"frames": [{"file_path": "0.png"}]}', (), "camera 0 is no 4×4 matrix"),
        (json.dumps([np.eye(4).tolist()]), ("--input-frame", "1"), "has 1 cameras and the input would be number 1"),
        (json.dumps([np.eye(4).tolist()]), ("--input-frame", "0"), "has 1 cameras and the input would be number 0"),
        (json.dumps([(2 * np.eye(4)).tolist()]), (), "no rigid transforms"),
        (
            json.dumps({"camera_angle_x": "wide", "frames": [{"transform_matrix": np.eye(4).tolist()}]}),
            (),
            "has lenses that cannot be read",
        ),
    ],
)
def test_files_without_cameras_are_one_line(
    sampled, scenes: dict[str, Path], tmp_path: Path, content: str, options: tuple[str, ...], named: str
):
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(InputError, match=named) as caught:
        sampled("--model", scenes["7dof_quantile_scale"], "--cameras", tmp_path / "cameras.json", *options, *QUANTILE)
    assert "\n" not in str(caught.value)
