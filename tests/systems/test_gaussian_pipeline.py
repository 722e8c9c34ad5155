"""What pipelines of Gaussians share: frames, pictures and what is left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline, seen_gaussians

LENS = Intrinsics.from_fov(0.8, 24)


@dataclass(frozen=True)
class Eye:
    """A camera that looks at the origin."""

    polar: float
    azimuth: float
    intrinsics: Intrinsics = LENS

    @property
    def c2w(self) -> np.ndarray:
        """At distance 1.5."""
        return look_at_origin(self.polar, self.azimuth, 1.5)


class RedInFront(GaussianPipeline):
    """A red ball towards the input and a blue one behind it to its right."""

    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, dict[str, Any]]] = []
        self.sizes: list[tuple[int, ...]] = []

    def sample_splatters(self, images: Any, elevations: Tensor, **options: Any) -> Tensor:
        """Three Gaussians, the last of which does not show."""
        self.asked.append((elevations, options))
        self.sizes.append(tuple(images.shape[-2:]))
        channels = torch.zeros(len(images), 1, 14, 1, 3)
        channels[:, :, :3] = torch.tensor([[0.3, -0.3, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.0]])[None, None, :, None]
        channels[:, :, 3] = torch.tensor([0.95, 0.95, 0.001])
        channels[:, :, 4:7] = 0.06
        channels[:, :, 7] = 1.0
        channels[:, :, 11] = torch.tensor([1.0, 0.0, 0.0])
        channels[:, :, 13] = torch.tensor([0.0, 1.0, 0.0])
        return channels


PICTURE = torch.ones(1, 3, 8, 8)


def test_a_call_gives_the_gaussians_that_show() -> None:
    pipeline = RedInFront()
    made = pipeline(PICTURE, elevation_deg=30)
    assert [len(each) for each in made.gaussians] == [2]
    assert made.splatters.shape == (1, 1, 14, 1, 3)
    torch.testing.assert_close(pipeline.asked[0][0], torch.tensor([np.pi / 6], dtype=torch.float32))


def test_each_input_may_have_an_elevation() -> None:
    pipeline = RedInFront()
    pipeline(PICTURE.expand(2, 3, 8, 8), elevation_deg=[0, 90])
    torch.testing.assert_close(pipeline.asked[0][0], torch.tensor([0, np.pi / 2], dtype=torch.float32))
    with pytest.raises(InputError, match="2 elevations for 1 images"):
        pipeline(PICTURE, elevation_deg=[0, 90])


@pytest.mark.parametrize("azimuth", [0.0, 1.0, -2.5])
def test_pictures_do_not_depend_on_where_the_input_stands(azimuth: float) -> None:
    """Cameras about the object see what they would if the input stood at azimuth 0."""
    turns = (0.0, np.pi / 2, np.pi)
    pictures = [
        RedInFront().sample_views(PICTURE, Eye(1.2, start), [Eye(1.2, start + turn) for turn in turns]).images
        for start in (0.0, azimuth)
    ]
    torch.testing.assert_close(pictures[0], pictures[1], atol=1e-4, rtol=0)


def test_the_ball_in_front_is_left_and_the_other_right() -> None:
    (seen,) = RedInFront().sample_views(PICTURE, Eye(np.pi / 2, 1.0), [Eye(np.pi / 2, 1.0)]).images
    # The input at azimuth 0 looks along −X with +Y on its right.
    # Only the blue ball lacks red, only the red one blue.
    blue, red = 1.0 - seen[0], 1.0 - seen[2]
    columns = torch.arange(24.0)
    assert (blue.sum(0) * columns).sum() / blue.sum() > 14
    assert (red.sum(0) * columns).sum() / red.sum() == pytest.approx(11.5, abs=0.5)


def test_options_of_single_views_are_left_out_and_others_passed_on() -> None:
    pipeline = RedInFront()
    pipeline.sample_views(PICTURE, Eye(1.0, 0.0), [Eye(1.0, 0.0)], output_type="pt", guidance_scale=2.0)
    elevation, options = pipeline.asked[0]
    assert options == {"guidance_scale": 2.0}
    assert float(elevation) == pytest.approx(np.pi / 2 - 1.0)


def test_larger_pictures_are_brought_to_the_size_of_the_training() -> None:
    pipeline = RedInFront()
    pipeline.sample_views(torch.ones(1, 3, 24, 24), Eye(1.0, 0.0), [Eye(1.0, 0.0)])
    assert pipeline.sizes == [(8, 8)]


def test_several_inputs_of_one_object_are_refused() -> None:
    with pytest.raises(InputError, match="2 input views of one object; give one"):
        RedInFront().sample_views(PICTURE.expand(2, 3, 8, 8), Eye(1.0, 0.0), [Eye(1.0, 0.0)])


def test_no_gaussian_shows() -> None:
    assert len(seen_gaussians(torch.zeros(1, 14, 2, 2) + torch.eye(14)[7][None, :, None, None])) == 0
