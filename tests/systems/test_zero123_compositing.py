"""White backgrounds: by alpha, and the published rule that only alpha 0 is background."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pair_views import views_of
from PIL import Image

from systems.zero123.compositing import on_white, picture_tensor
from systems.zero123.loss import batch_from_pairs
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training

# Straight colours: opaque, half-transparent by 51/255 = 0.2, and transparent.
PIXELS = np.array([[[100, 150, 200, 255], [100, 150, 200, 51], [100, 150, 200, 0]]], np.uint8)
BY_ALPHA = np.array([[100, 150, 200], [224, 234, 244], [255, 255, 255]])
BY_ZERO = np.array([[100, 150, 200], [100, 150, 200], [255, 255, 255]])


def test_both_rules_by_hand() -> None:
    values = torch.from_numpy(PIXELS).float() / 255
    for background, expected in (("alpha", BY_ALPHA), ("zero_alpha", BY_ZERO)):
        made = on_white(values[..., :3], values[..., 3:], background)  # type: ignore[arg-type]
        np.testing.assert_allclose(made[0] * 255, expected, atol=1e-3)


def test_pictures_follow_both_rules() -> None:
    picture = Image.fromarray(PIXELS)
    for background, expected in (("alpha", BY_ALPHA), ("zero_alpha", BY_ZERO)):
        made = picture_tensor(picture, (3, 1), background)  # type: ignore[arg-type]
        assert made.shape == (3, 1, 3)
        np.testing.assert_allclose((made[:, 0].T + 1) * 127.5, expected, atol=0.6)


def test_zero_alpha_comes_before_the_resizing() -> None:
    """Two pixels wide, one of them transparent: half red, half white, whatever colour the transparent one hides."""
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[:, 0] = (255, 0, 0, 255)
    made = (picture_tensor(Image.fromarray(rgba), (1, 1), "zero_alpha")[:, 0, 0] + 1) * 127.5
    np.testing.assert_allclose(made, [255, 127.5, 127.5], atol=1)


def test_training_composites_as_its_parameters_say(tiny: Callable[..., Zero123Parameters]) -> None:
    rgba = torch.from_numpy(np.broadcast_to(PIXELS, (1, 2, 3, 3, 4)).copy())
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[..., 0, 3] = 1.5
    choices: dict[Any, np.ndarray] = {"alpha": BY_ALPHA, "zero_alpha": BY_ZERO}
    for background, expected in choices.items():
        system = Zero123Training(tiny(background=background), seed=0, image_size=16)
        made = system.batch(views_of(rgba, c2w))
        for pictures in (made.target, made.condition):
            np.testing.assert_allclose((pictures[0, :, 0].T + 1) * 127.5, expected, atol=1e-3)
    pose = torch.zeros(1, 4)
    assert torch.equal(batch_from_pairs(rgba, pose).target, batch_from_pairs(rgba, pose, "alpha").target)
