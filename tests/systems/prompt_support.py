"""Views to be prompted for, and prompters on a tiny Base that really samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry.cameras import look_at_origin
from systems.cascade_zero123.base import Base
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.cascade_zero123.prompter import Prompter
from systems.cascade_zero123.prompts import Prompts
from systems.trainable import Views
from systems.zero123.modules import Zero123Modules

SIZE, NUMBERS = 16, 4
QUICK = {"eta": 1.0, "inference_steps": 3, "prompt_batch": 8}


def scene(objects: int = 3) -> Views:
    """All ordered pairs of four views of some objects, the condition last."""
    chance = np.random.default_rng(4)
    rgba = chance.integers(0, 256, (objects, NUMBERS, SIZE, SIZE, 4), dtype=np.uint8)
    angles = chance.uniform([0.4, 0.0], [2.6, 6.2], (objects, NUMBERS, 2))
    c2w = np.stack([[look_at_origin(*angle, 2.0) for angle in views] for views in angles])
    pairs = [(o, t, c) for o in range(objects) for t in range(NUMBERS) for c in range(NUMBERS) if t != c]
    chosen = np.array(pairs)
    rows, numbers = chosen[:, :1], chosen[:, 1:]
    return Views(
        uids=tuple(f"object {o}" for o in chosen[:, 0]),
        numbers=numbers,
        rgba=torch.from_numpy(rgba[rows, numbers]),
        c2w=torch.from_numpy(c2w[rows, numbers]).float(),
        intrinsics=torch.ones(len(pairs), 2, 4),
        scales=torch.full((len(pairs), 2, 3), torch.nan),
    )


def rows_of(views: Views, rows: list[int]) -> Views:
    """Some of the pairs."""
    tensors = (getattr(views, name)[rows] for name in ("rgba", "c2w", "intrinsics", "scales"))
    return Views(tuple(views.uids[row] for row in rows), views.numbers[rows], *tensors)


def prompter(modules: Zero123Modules, seed: int = 5, **changes: Any) -> Prompter:
    """A prompter on a Base of its own."""
    return Prompter(Base(modules), PromptParameters.model_validate({**QUICK, **changes}), seed, "alpha")


def same(one: Prompts, other: Prompts) -> bool:
    """Whether prompts are equal to the last bit."""
    pairs: list[tuple[Tensor, Tensor]] = list(zip(vars(one).values(), vars(other).values(), strict=True))
    return all(torch.equal(*pair) for pair in pairs)
