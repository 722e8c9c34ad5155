"""`viewforge sample` on pictures as people have them: one command, what was done to the picture said, mistakes in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from patterned_ball import PatternedBall, ball, modules
from PIL import Image, ImageDraw
from torch import Tensor
from typer.testing import CliRunner

from cli import sampling
from cli.sampling_pictures import PictureOptions, elevation_for
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline
from systems.zero123.pipeline import Zero123Pipeline

BLUE = (20, 40, 220)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Zero-1-to-3 of 64 pixels."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    Zero123Pipeline(*modules()).save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A blue plate before a yellowish wall, as a JPEG, and its mask beside it."""
    mask = Image.new("L", (160, 100))
    ImageDraw.Draw(mask).rectangle((20, 10, 59, 89), fill=255)
    picture = Image.new("RGB", mask.size, (230, 220, 180))
    picture.paste(BLUE, mask=mask)
    picture.save(tmp_path / "photo.jpg", quality=95)
    mask.save(tmp_path / "mask.png")
    return tmp_path / "photo.jpg"


def test_one_command_from_a_photograph_to_views(viewforge, model: Path, photo: Path, tmp_path: Path):
    sheet = tmp_path / "views.png"
    result = viewforge(
        *("sample", photo, "--foreground", tmp_path / "mask.png", "--model", model, "--azimuth-deg", 30),
        *("--steps", 2, "-o", sheet),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "sample: the mask mask.png, framed as zero123: 78% of the square",
        f"sample: 1 views in {sheet}",
    ]
    pixels = np.asarray(Image.open(sheet)).astype(int)
    assert pixels.shape == (64, 128, 3)
    # 200 of 256 pixels are 50 of 64: rows 7 to 56; the plate is half as wide. The wall is gone.
    assert np.abs(pixels[8:56, 21:43] - BLUE).max() < 30
    assert (pixels[:5, :64] == 255).all()
    assert (pixels[:, :16] == 255).all()


@pytest.fixture
def sample(tmp_path: Path):
    """Call the command in this process; what it prints."""

    def run(*options: object) -> str:
        app = typer.Typer()
        sampling.add_to(app)
        result = CliRunner().invoke(app, [str(option) for option in options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_photograph_without_weights_for_its_background_is_one_line(sample, model: Path, photo: Path, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(photo.parent / "nothing"))
    with pytest.raises(InputError, match="the picture has a background and nothing to cut it off with: ") as caught:
        sample(photo, "--model", model, "--azimuth-deg", 30, "-o", photo.parent / "views.png")
    assert "--foreground MASK.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (photo.parent / "views.png").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--elevation-deg", "high"], "--elevation-deg high is no elevation; give degrees, -90 to 90, or estimate"),
        (["--elevation-deg", "100"], "--elevation-deg 100 is no elevation"),
        (["--elevation-deg", "20"], "--elevation-deg belongs to ZeroNVS"),
        (["--elevation-model", "there"], "give --elevation-deg estimate with it"),
        (["--foreground", "alpha"], "the picture's alpha is 255 to 255 of 255"),
    ],
)
def test_options_about_the_picture_that_do_not_fit(sample, model: Path, photo: Path, options: list[str], named: str):
    given = [photo, "--model", model, "--azimuth-deg", 30, "--steps", 1]
    if "--foreground" not in options:
        given += ["--foreground", "none"]
    with pytest.raises(InputError, match=named):
        sample(*given, *options)


def test_an_untrained_model_is_not_believed(sample, model: Path, photo: Path):
    try:
        said = sample(
            *(photo, "--model", model, "--azimuth-deg", 30, "--steps", 1, "--foreground", "none"),
            *("--elevation-deg", "estimate", "-o", photo.parent / "views.png"),
        )
    except InputError as error:
        said = f"{error}"
    assert "not confident: " in said or "points match among the model's views" in said


def test_the_picture_and_its_mask_are_never_written_over(sample, model: Path, photo: Path):
    given = [photo, "--model", model, "--azimuth-deg", 30, "--steps", 1, "--foreground", photo.parent / "mask.png"]
    before = {path: path.read_bytes() for path in (photo, photo.parent / "mask.png")}
    for path in before:
        with pytest.raises(InputError, match=f"{path.name} is given, and the views would be written over it; name"):
            sample(*given, "-o", photo.parent / "." / path.name)
    assert all(path.read_bytes() == content for path, content in before.items())


class Told(GaussianPipeline):
    """Notes the elevation that it is told, and makes nothing."""

    image_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.register_to_config()

    def sample_splatters(self, images: Any, elevations: Tensor, **options: Any) -> Tensor:  # noqa: ARG002 - of the interface
        """Nothing."""
        self.told_deg = float(elevations.rad2deg())
        raise InputError("it has been told", "")


def test_an_estimate_is_asked_of_another_model_said_and_used(sample, tmp_path: Path, monkeypatch, capsys):
    torch.set_num_threads(1)
    picture = np.moveaxis(ball(0.0, 0.0), 0, -1)
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(tmp_path / "ball.png")
    told = Told()
    monkeypatch.setattr("systems.pipelines.load_pipeline", lambda _: told)
    monkeypatch.setattr(
        "cli.sampling_pictures.load_pipeline", lambda folder: {"prior": PatternedBall(*modules())}[str(folder)]
    )
    with pytest.raises(InputError, match="it has been told"):
        sample(
            *(tmp_path / "ball.png", "--model", tmp_path, "--foreground", "none"),
            *("--elevation-deg", "estimate", "--elevation-model", "prior"),
        )
    assert told.told_deg == pytest.approx(30.0, abs=3.0)


def test_an_estimate_of_a_model_that_needs_none_is_said(sample, tmp_path: Path, monkeypatch):
    torch.set_num_threads(1)
    picture = np.moveaxis(ball(0.0, 0.0), 0, -1)
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(tmp_path / "ball.png")
    monkeypatch.setattr("systems.pipelines.load_pipeline", lambda _: PatternedBall(*modules()))
    said = sample(
        *(tmp_path / "ball.png", "--model", tmp_path, "--foreground", "none", "--azimuth-deg", 90),
        *("--elevation-deg", "estimate", "-o", tmp_path / "views.png"),
    )
    (line,) = [line for line in said.splitlines() if "elevation" in line]
    assert line.startswith(tuple(f"sample: elevation {degrees}° (" for degrees in (28, 29, 30, 31, 32)))
    assert Image.open(tmp_path / "views.png").size == (192, 96)
    shown, prior = PictureOptions(tmp_path / "ball.png", "none"), PatternedBall(*modules())
    assert elevation_for(prior, shown, "estimate", None, 0) is None
    assert elevation_for(prior, shown, "estimate", None, 0, around=True) == pytest.approx(30.0, abs=3.0)
