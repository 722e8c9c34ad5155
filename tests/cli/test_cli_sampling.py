"""`viewforge sample` on a tiny pipeline with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from cli import sampling
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
        arguments = [tmp_path / "picture.png", "--model", model, "-o", sheet, "--steps", "4", *options]
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
