"""The decoder's loss against numbers worked by hand."""

import numpy as np
import pytest
import torch
from splatter_training_support import LENS, SIDE, views

from geometry.attribute_images import ATTRIBUTES
from geometry.attribute_tensors import gaussians_of
from geometry.cameras import look_at_origin
from geometry.gaussian_tensors import GaussianTensors
from geometry.rasterizer import Rendering, rasterize
from systems.zero_1_to_g.parameters import DecoderLossParameters
from systems.zero_1_to_g.splatter_loss import (
    Supervision,
    geometry_error,
    rendering_error,
    splatter_error,
    supervision_of,
    uses_geometry,
)

GREY = torch.tensor([0.5, 0.25, 0.0])


def test_each_attribute_counts_by_its_weight() -> None:
    true = torch.zeros(2, 5, 3, 4, 4)
    made = true.clone()
    made[:, ATTRIBUTES.index("position")] = 0.5
    made[:, ATTRIBUTES.index("colour"), 0] = 0.3
    weights = DecoderLossParameters(position=2.0, colour=10.0, opacity=7.0)
    # One of a colour's three channels is off.
    expected = (2.0 * 0.25 + 10.0 * 0.09 / 3) / 5
    assert float(splatter_error(made, true, weights)) == pytest.approx(expected, rel=1e-6)


def test_a_value_beyond_the_range_costs_something_and_is_led_back() -> None:
    true = torch.ones(1, 5, 3, 2, 2)
    made = torch.full_like(true, 1.2, requires_grad=True)
    error = splatter_error(made, true, DecoderLossParameters())
    error.backward()
    assert float(error.detach()) == pytest.approx(0.04, rel=1e-5)
    assert made.grad is not None
    assert (made.grad > 0).all()


def nothing() -> GaussianTensors:
    return GaussianTensors(*(torch.zeros(0, size) for size in (3, 4, 3)), torch.zeros(0), torch.zeros(0, 3))


def some_supervision() -> Supervision:
    """A picture of which a quarter is a red object."""
    rgba = torch.zeros(1, SIDE, SIDE, 4)
    rgba[:, : SIDE // 2, : SIDE // 2] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    return Supervision(rgba, look_at_origin(1.2, 0.3, 2.0)[None], (LENS,))


def test_where_there_are_no_gaussians_the_background_is_seen() -> None:
    weights = DecoderLossParameters(rgb=2.0, alpha=3.0)
    error = rendering_error(nothing(), None, some_supervision(), GREY, weights)
    colours = 0.25 * (0.5**2 + 0.25**2 + 0.0**2) / 3
    assert float(error) == pytest.approx(2.0 * colours + 3.0 * 0.25, rel=1e-5)


def test_the_true_gaussians_cost_next_to_nothing() -> None:
    batch = views()
    assert batch.splatters is not None
    true = gaussians_of(batch.splatters.channels[0].float())
    supervision = supervision_of(batch.rgba[0], batch.c2w[0], batch.intrinsics[0])
    weights = DecoderLossParameters(normal=1.0, depth=1.0)
    # Pictures of bytes round.
    assert float(rendering_error(true, true, supervision, GREY, weights)) < 1e-4


def test_lpips_compares_pictures_on_the_background_at_its_own_size() -> None:
    seen = []

    def network(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.extend([made, truth])
        return torch.tensor([0.5])

    weights = DecoderLossParameters(rgb=0.0, alpha=0.0, lpips=4.0)
    error = rendering_error(nothing(), None, some_supervision(), GREY, weights, network)
    assert float(error) == pytest.approx(2.0)
    assert [picture.shape for picture in seen] == [(1, 3, 256, 256)] * 2
    torch.testing.assert_close(seen[0][0, :, 5, 5], GREY * 2 - 1)
    torch.testing.assert_close(seen[1][0, :, 5, 5], torch.tensor([1.0, -1.0, -1.0]))


def rendering(alpha: list[float], depth: list[float], normals: list[list[float]]) -> Rendering:
    """One row of pixels."""
    return Rendering(
        torch.zeros(1, 1, len(alpha), 3),
        torch.tensor(alpha)[None, None],
        torch.tensor(depth)[None, None],
        torch.tensor(normals)[None, None],
    )


def test_geometry_counts_where_both_cover_a_pixel() -> None:
    up, side = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
    made = rendering([1.0, 0.5, 0.0, 1.0], [2.0, 2.0, 0.0, 3.0], [up, up, [0.0] * 3, up])
    true = rendering([1.0, 1.0, 1.0, 0.0], [2.5, 3.0, 2.0, 0.0], [up, side, up, [0.0] * 3])
    error = geometry_error(made, true, DecoderLossParameters(normal=1.0, depth=10.0))
    # Shares 1 and 1/2 of the first two pixels; normals differ by a right angle in the second.
    assert float(error) == pytest.approx((0.5 * 1.0 + 10.0 * (1.0 * 0.5 + 0.5 * 1.0)) / 1.5, rel=1e-6)


def test_geometry_begins_at_its_step() -> None:
    weights = DecoderLossParameters(normal=0.02, geometry_from_step=3000)
    assert not uses_geometry(weights, 2999)
    assert uses_geometry(weights, 3000)
    assert not uses_geometry(DecoderLossParameters(geometry_from_step=0), 5000)


def test_gradients_of_the_rendering_move_gaussians_towards_the_pictures() -> None:
    """A ball that is too dark gets lighter, one that is moved moves back."""
    batch = views()
    assert batch.splatters is not None
    channels = batch.splatters.channels[0].float()
    channels[:, 11:] *= 0.5
    channels[:, 0] += 0.05
    channels.requires_grad_()
    supervision = supervision_of(batch.rgba[0], batch.c2w[0], batch.intrinsics[0])
    rendering_error(gaussians_of(channels), None, supervision, GREY, DecoderLossParameters()).backward()
    slope = channels.grad
    assert slope is not None
    assert torch.isfinite(slope).all()
    assert (slope[:, 11:].sum(dim=(0, 2, 3)) < 0).all()
    assert slope[:, 0].sum() > 0


def test_pictures_of_bytes_and_their_cameras_become_supervision() -> None:
    batch = views()
    made = supervision_of(batch.rgba[0], batch.c2w[0], batch.intrinsics[0])
    np.testing.assert_allclose([lens.fx for lens in made.intrinsics], [LENS.fx] * 3)
    assert {(lens.width, lens.height) for lens in made.intrinsics} == {(SIDE, SIDE)}
    torch.testing.assert_close(made.rgba, batch.rgba[0] / 255)
    seen = rasterize(gaussians_of(batch.splatters.channels[0].float()), made.c2w, made.intrinsics)  # type: ignore[union-attr]
    truth = made.rgba[..., :3] * made.rgba[..., 3:] + 1 - made.rgba[..., 3:]
    assert (seen.rgb - truth).abs().max() < 0.01
