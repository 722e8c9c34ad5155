"""`viewforge sample` with a model that makes Gaussians: here one that always makes the same coloured box."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from cli import sampling, sampling_gaussians
from geometry.gaussians import Gaussians
from geometry.ply import read_ply
from geometry.splatter_tensor import channels_from_gaussians
from reconstruction.parameters import FusionParameters, TextureParameters
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline
from viewing.view import Look

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def plates() -> Gaussians:
    """Two plates of 12 × 12 Gaussians, red towards the input's camera (+X), blue away from it."""
    y, z = np.meshgrid(np.linspace(-0.3, 0.3, 12), np.linspace(-0.4, 0.4, 12))
    means = [np.stack([np.full(144, x), y.ravel(), z.ravel()], axis=1) for x in (0.1, -0.1)]
    turns, scales = np.tile([1.0, 0.0, 0.0, 0.0], (288, 1)), np.full((288, 3), 0.05)
    return Gaussians(np.concatenate(means), turns, scales, np.full(288, 0.95), np.repeat([RED, BLUE], 144, axis=0))


class AlwaysPlates(GaussianPipeline):
    """Whatever it is shown."""

    image_size = 16
    opacity = 0.95

    def __init__(self) -> None:
        super().__init__()
        self.register_to_config()

    def sample_splatters(self, images: Any, elevations: Tensor, **options: Any) -> Tensor:  # noqa: ARG002 - of the interface
        """One view of 288 Gaussians."""
        self.elevations, self.options = elevations, options
        channels = torch.from_numpy(channels_from_gaussians(plates(), 12, 24))[None, None].clone()
        channels[:, :, 3] = self.opacity
        return channels


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> AlwaysPlates:
    torch.set_num_threads(1)
    made = AlwaysPlates()
    monkeypatch.setattr(sampling_gaussians, "_ORBIT", Look(2, 32, 0.3, 0.7, None))
    monkeypatch.setattr(
        sampling_gaussians, "FusionParameters", lambda: FusionParameters(resolution=16, views=8, view_size=32)
    )
    monkeypatch.setattr(sampling_gaussians, "TextureParameters", lambda: TextureParameters(faces=200, size=32))
    monkeypatch.setattr("systems.pipelines.load_pipeline", lambda _: made)
    return made


@pytest.fixture
def sample(pipeline: AlwaysPlates, tmp_path: Path):
    """Call the command on a grey picture, with a sheet `out/chair.png`."""
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "picture.png")

    def run(*options: object) -> str:
        app = typer.Typer()
        sampling.add_to(app)
        arguments = [tmp_path / "picture.png", "--model", tmp_path, "-o", tmp_path / "out" / "chair.png"]
        arguments += ["--foreground", "none", *options]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_gaussians_a_video_and_a_sheet(sample, pipeline, tmp_path):
    said = sample("--elevation-deg", 30, "--steps", 7, "--guidance", 2.5)
    folder = tmp_path / "out" / "chair"
    assert f"sample: 288 Gaussians in {folder}" in said
    np.testing.assert_allclose(read_ply(folder / "gaussians.ply").means, plates().means, atol=1e-6)
    assert {"orbit.mp4", "sheet.png"} <= {path.name for path in folder.iterdir()}
    assert torch.rad2deg(pipeline.elevations).tolist() == pytest.approx([30.0])
    assert pipeline.options["num_inference_steps"] == 7
    assert pipeline.options["guidance_scale"] == 2.5
    assert not (tmp_path / "out" / "chair.png").exists()


def test_views_turn_from_the_inputs_side(sample, tmp_path):
    assert "2 views in" in sample("--azimuth-deg", 0, "--azimuth-deg", 180)
    row = np.asarray(Image.open(tmp_path / "out" / "chair.png")) / 255.0
    assert row.shape == (16, 48, 3)
    np.testing.assert_allclose(row[8, 8], 90 / 255, atol=0.01)
    np.testing.assert_allclose([row[8, 24], row[8, 40]], [RED, BLUE], atol=0.06)


def test_a_mesh_beside_them(sample, tmp_path):
    path = tmp_path / "model.glb"
    assert f"in {path}" in sample("--mesh", path)
    assert path.read_bytes()[:4] == b"glTF"


def test_mistakes_name_the_option(sample, pipeline, tmp_path):
    with pytest.raises(InputError, match="--distance belongs to ZeroNVS, and the model is a AlwaysPlates"):
        sample("--distance", 1)
    with pytest.raises(InputError, match=r"model\.obj: a textured mesh is a \.glb file"):
        sample("--mesh", tmp_path / "model.obj")
    with pytest.raises(InputError, match="leaves no distance"):
        sample("--azimuth-deg", 0, "--radius", -2)


def test_what_was_made_is_kept_when_its_mesh_fails(sample, pipeline, tmp_path):
    pipeline.opacity = 0.01
    with pytest.raises(InputError, match="have no surface"):
        sample("--mesh", tmp_path / "model.glb")
    assert len(read_ply(tmp_path / "out" / "chair" / "gaussians.ply")) == 288
    assert not (tmp_path / "model.glb").exists()
