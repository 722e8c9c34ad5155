"""`viewforge sample --orbit` and `--view-fusion` on tiny pipelines with random weights."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from cli import sampling
from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import poses_from_degrees
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
# Of the plain picture below, in [−1, 1].
_PLAIN = torch.tensor([200, 40, 40]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16) / 127.5 - 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Zero-1-to-3, and ZeroNVS of two modes."""
    torch.set_num_threads(1)
    folders = {}
    for name, dimensions in (("zero123", 4), ("3dof", 4), ("7dof_unscaled", 19)):
        folders[name] = tmp_path_factory.mktemp("models") / name
        modules = build_modules(_TINY, 0, dimensions)
        modules.unet.register_to_config(sample_size=4)
        parts = (modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler)
        pipeline = Zero123Pipeline(*parts) if name == "zero123" else ZeroNvsPipeline(*parts, name)
        pipeline.save_pretrained(folders[name])
    return folders


Command = Callable[..., Path]


@pytest.fixture
def command(models: dict[str, Path], tmp_path: Path) -> Command:
    """Runs the command on a plain picture; the sheet's path."""
    Image.new("RGB", (24, 24), (200, 40, 40)).save(tmp_path / "picture.png")

    def run(*options: str, model: str = "zero123", sheet: str = "sheet.png") -> Path:
        app = typer.Typer()
        sampling.add_to(app)
        arguments = [tmp_path / "picture.png", "--model", models[model], "-o", tmp_path / sheet, "--steps", "2"]
        arguments += ["--foreground", "none"]
        result = CliRunner().invoke(app, [str(each) for each in [*arguments, *options]], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return tmp_path / sheet

    return run


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_an_orbit_is_a_row_and_a_video(command: Command) -> None:
    sheet = command("--orbit", "8")
    assert pixels(sheet).shape == (16, 8 * 16, 3)
    with av.open(str(sheet.with_suffix(".mp4"))) as film:
        assert sum(1 for _ in film.decode(video=0)) == 8


def test_an_orbit_without_fusion_is_the_plain_views(command: Command, models: dict[str, Path]) -> None:
    row = pixels(command("--orbit", "4"))
    pipeline = load_pipeline(models["zero123"])
    options = {"guidance_scale": 1.0, "num_inference_steps": 2, "eta": 0.0}
    generator = torch.Generator().manual_seed(0)
    views = pipeline(_PLAIN, poses_from_degrees([90, 180, 270]), generator=generator, **options).images
    assert np.abs(row[:, 16:] - (views.permute(2, 0, 3, 1).flatten(1, 2) * 255).round().int().numpy()).max() <= 1


@pytest.mark.parametrize("model", ["zero123", "3dof"])
def test_fused_views_differ_from_plain_ones_but_for_the_first_made(command: Command, model: str) -> None:
    fused = pixels(command("--orbit", "8", "--view-fusion", model=model))
    again = pixels(command("--orbit", "8", "--view-fusion", model=model))
    assert np.array_equal(fused, again)
    if model == "zero123":
        plain = pixels(command("--orbit", "8"))
        assert np.array_equal(fused[:, :16], plain[:, :16])
        assert np.abs(fused[:, 16:] - plain[:, 16:]).max() > 2


def test_a_single_view_is_made_along_its_path(command: Command) -> None:
    near, plain_near = (pixels(command("--azimuth-deg", "10", *fusion)) for fusion in (["--view-fusion"], []))
    assert np.abs(near - plain_near).max() <= 1, "one step is the plain view"
    far, plain_far = (pixels(command("--azimuth-deg", "50", *fusion)) for fusion in (["--view-fusion"], []))
    assert far.shape == plain_far.shape
    assert np.abs(far - plain_far).max() > 2


@pytest.mark.parametrize(
    ("options", "model", "named"),
    [
        (["--azimuth-deg", "30"], "zero123", "--azimuth-deg has no meaning beside --orbit"),
        (["--radius", "0.2"], "zero123", "--radius has no meaning beside --orbit"),
        (["--view-fusion", "--scale", "0.7"], "3dof", "--scale is nothing to ViewFusion"),
        (["--view-fusion", "--distance", "2"], "3dof", "--distance is nothing to ViewFusion"),
        (["--view-fusion"], "7dof_unscaled", "take a model of mode 3dof"),
        (["--mesh", "chair.glb"], "zero123", "--mesh is of Gaussians, and the model is a Zero123Pipeline"),
    ],
)
def test_options_that_do_not_belong_are_refused(command: Command, options: list[str], model: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        command("--orbit", "4", *options, model=model)


def test_the_videos_place_is_not_the_pictures(command: Command) -> None:
    with pytest.raises(InputError, match=r"name a \.png"):
        command("--orbit", "4", sheet="sheet.mp4")


def test_a_scenes_orbit_needs_a_centre(command: Command) -> None:
    with pytest.raises(InputError, match="give --distance"):
        command("--orbit", "4", "--fov-deg", "50", model="7dof_unscaled")
    row = command("--orbit", "4", "--fov-deg", "50", "--distance", "2", model="7dof_unscaled")
    assert pixels(row).shape == (16, 64, 3)
