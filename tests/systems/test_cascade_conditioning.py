"""The Refiner's tokens and poses against numbers worked out by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geometry.cameras import look_at_origin
from systems.cascade_zero123.conditioning import (
    PromptEmbeddings,
    asked_poses,
    embed_prompts,
    near_poses,
    prompt_tokens,
)
from systems.cascade_zero123.guidance import prompted
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.cascade_zero123.prompts import Prompts, prompt_offsets, prompt_poses
from systems.zero123.conditioning import CCProjection, relative_pose
from systems.zero123.encoding import embed_images
from systems.zero123.guidance import Condition
from systems.zero123.modules import Zero123Modules

HALF = math.sqrt(0.5)
THIRTY, FORTY_FIVE = math.pi / 6, math.pi / 4
# The published near views: (Δθ, Δφ, Δr).
OFFSETS = torch.tensor([[0.0, FORTY_FIVE, 0.0], [0.0, -FORTY_FIVE, 0.0], [-THIRTY, 0.0, 0.0]])


def adding_projection() -> CCProjection:
    """Of 4 numbers, to which it adds the pose: tokens that can be told by eye."""
    projection = CCProjection(4)
    with torch.no_grad():
        projection.linear.weight.copy_(torch.cat([torch.eye(4), torch.eye(4)], dim=1))
    return projection


def test_near_views_are_asked_for_at_their_offsets() -> None:
    expected = [[0, HALF, HALF, 0], [0, -HALF, HALF, 0], [-THIRTY, 0, 1, 0]]
    torch.testing.assert_close(asked_poses(OFFSETS), torch.tensor(expected))


def test_poses_of_a_target_a_quarter_turn_on() -> None:
    # From polar 90°, distance 2 to a target 90° counter-clockwise, at polar 60° and distance 1.5.
    pose = torch.tensor([[-THIRTY, 1.0, 0.0, -0.5]])
    expected = [[-THIRTY, HALF, HALF, -0.5], [-THIRTY, HALF, -HALF, -0.5], [0.0, 1.0, 0.0, -0.5]]
    torch.testing.assert_close(near_poses(pose, OFFSETS[None]), torch.tensor([expected]))


def test_a_near_view_is_where_it_was_asked_for() -> None:
    """A target in the place of a near view has the pose of a view relative to itself."""
    poses = near_poses(asked_poses(OFFSETS), OFFSETS[:, None])
    torch.testing.assert_close(poses[:, 0], torch.tensor([[0.0, 0.0, 1.0, 0.0]] * 3))


@given(
    st.floats(0.6, math.pi - 0.1), st.floats(-7, 7), st.floats(0.5, 3),
    st.floats(0.1, math.pi - 0.1), st.floats(-7, 7), st.floats(0.5, 3),
)  # fmt: skip
def test_poses_are_those_of_cameras(p: float, a: float, r: float, polar: float, azimuth: float, radius: float) -> None:
    """From T and the offsets, without knowing where the source is, what `prompt_poses` has from both cameras."""
    condition, target = look_at_origin(p, a, r), look_at_origin(polar, azimuth, radius)
    from_cameras = prompt_poses(target, condition, prompt_offsets(PromptParameters().near))
    pose = torch.from_numpy(relative_pose(target, condition))
    np.testing.assert_allclose(near_poses(pose, OFFSETS.double()), from_cameras.near, atol=1e-6)
    np.testing.assert_allclose(asked_poses(OFFSETS.double()), from_cameras.asked, atol=1e-6)


def test_tokens_are_embedding_and_pose_in_order() -> None:
    near = torch.tensor([[[10.0, 0, 0, 0], [20, 0, 0, 0], [30, 0, 0, 0]]])
    poses = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.9, 1.0, 1.1, 1.2]]])
    coarse = torch.tensor([[5.0, 6.0, 7.0, 8.0]])
    tokens = prompt_tokens(adding_projection(), PromptEmbeddings(coarse, near, poses))
    expected = [[5, 6, 7, 8], [10.1, 0.2, 0.3, 0.4], [20.5, 0.6, 0.7, 0.8], [30.9, 1.0, 1.1, 1.2]]
    torch.testing.assert_close(tokens, torch.tensor([expected]))


def test_the_coarse_target_has_four_zeros_and_not_its_own_pose() -> None:
    nothing = PromptEmbeddings(torch.zeros(1, 4), torch.zeros(1, 0, 4), torch.zeros(1, 0, 4))
    projection = adding_projection()
    torch.testing.assert_close(prompt_tokens(projection, nothing), torch.zeros(1, 1, 4))
    same_view = projection(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    assert not torch.equal(prompt_tokens(projection, nothing), same_view)


def test_every_picture_is_embedded_in_its_own_place(modules: Zero123Modules, pictures: Callable[..., Tensor]) -> None:
    drawn = pictures(8)
    shown = embed_prompts(
        modules.image_encoder, Prompts(drawn[:2], drawn[2:].unflatten(0, (2, 3)), torch.zeros(2, 3, 4))
    )
    alone = embed_images(modules.image_encoder, drawn)
    torch.testing.assert_close(shown.coarse, alone[:2])
    torch.testing.assert_close(shown.near, alone[2:].unflatten(0, (2, 3)))


@pytest.fixture
def shown() -> PromptEmbeddings:
    chance = torch.Generator().manual_seed(0)
    coarse, near, poses = (torch.randn(2, *rest, generator=chance) for rest in ((4,), (3, 4), (3, 4)))
    return PromptEmbeddings(coarse, near, poses)


def test_the_released_pipelines_null_is_zero_after_the_projection(shown: PromptEmbeddings) -> None:
    source = Condition(torch.ones(2, 1, 4), torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 4))
    condition = prompted(source, adding_projection(), shown, "after_projection")
    assert condition.token.shape == (2, 5, 4)
    torch.testing.assert_close(condition.token[:, :1], source.token)
    assert not condition.null_token.any()
    assert condition.null_token.shape == (2, 5, 4)


def test_the_trainings_null_keeps_near_views(shown: PromptEmbeddings) -> None:
    null = torch.full((2, 1, 4), 3.0)
    source = Condition(torch.ones(2, 1, 4), torch.ones(2, 1, 2, 2), null)
    condition = prompted(source, adding_projection(), shown, "before_projection")
    torch.testing.assert_close(condition.null_token[:, :1], null)
    torch.testing.assert_close(condition.null_token[:, 1], torch.zeros(2, 4))
    torch.testing.assert_close(condition.null_token[:, 2:], condition.token[:, 2:])
    torch.testing.assert_close(condition.token[:, 1], shown.coarse)


def test_rows_of_a_condition_keep_their_tokens(shown: PromptEmbeddings) -> None:
    source = Condition(torch.ones(2, 1, 4), torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 4))
    condition = prompted(source, adding_projection(), shown, "before_projection")
    torch.testing.assert_close(condition[1:].token, condition.token[1:])
