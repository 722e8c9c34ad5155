"""Refinement: Gaussians optimised against pictures of their object, each on its pixel, from the closed form on.

Adam descends the loss of a few pictures at a time (Kerbl et al. 2023, "3D Gaussian Splatting", section 7, without densification,
because a splatter image has one Gaussian a pixel). Some pictures are held back: their PSNR decides which state is kept and when
more steps are of no use. If no state beats the closed form there, the closed form stays. Every random choice follows from seed,
uid and step, so a run that was stopped and resumed equals one that was not, bit for bit on a CPU.

`Refinement` is one object; `advance` takes several a step further with one backward pass, and each as if it were alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.picture_losses import on_background, picture_loss, psnr
from geometry.picture_metrics import SSIM_WINDOW
from geometry.pixel_grid import PixelGrid, Values, confine
from geometry.rasterizer import rasterize
from geometry.refinement_settings import RefinementSettings
from stage.errors import InputError
from stage.files import replacing
from stage.seeds import generator

_BLACK = (0.0, 0.0, 0.0)
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of an object and their cameras."""

    rgba: Float[Tensor, "v h w 4"]
    """sRGB in [0, 1], straight alpha, on the device of the optimisation."""
    c2w: Float[np.ndarray, "v 4 4"]
    """OpenGL axes."""
    intrinsics: tuple[Intrinsics, ...]

    def select(self, chosen: Sequence[int]) -> "Pictures":
        """The pictures of these numbers, in this order."""
        numbers = list(chosen)
        return Pictures(self.rgba[numbers], self.c2w[numbers], tuple(self.intrinsics[number] for number in numbers))


@dataclass
class Course:
    """What has happened so far; JSON values."""

    step: int = 0
    start_score: float = float("nan")
    """PSNR of the closed form on the validation pictures, dB."""
    best_score: float = float("nan")
    best_step: int = 0
    """Step after which the state that is kept was reached; 0 is the closed form."""
    fruitless: int = 0
    """Scores in a row that brought no gain."""
    stopped: Literal["", "steps", "no further gain", "diverged"] = ""
    """Why it is over; empty while it is not."""


class Refinement:
    """The optimisation of one object.

    Args:
        grid: its splatter images.
        pictures: what they are held against; the last `validation_views` of them are not learned from.
        settings: how.
        seed: the run's seed.
        uid: the object's.
        closed_form: what must be beaten; the grid's start unless given, as when fused Gaussians are published beside it.
        lpips: see `picture_losses.picture_loss`.

    Raises:
        InputError: when no picture is left to learn from, or pictures are smaller than SSIM's window.
    """

    def __init__(
        self,
        grid: PixelGrid,
        pictures: Pictures,
        settings: RefinementSettings,
        seed: int,
        uid: str,
        closed_form: GaussianTensors | None = None,
        lpips: Any | None = None,  # noqa: ANN401 - the network of a package that may be absent
    ) -> None:
        _check_pictures(uid, pictures, settings)
        count = len(pictures.c2w) - settings.validation_views
        self.uid, self._grid, self._settings, self._seed, self._lpips = uid, grid, settings, seed, lpips
        self._learned = pictures.select(range(count))
        self._held_back = pictures.select(range(count, len(pictures.c2w)))
        self._values: Values = {name: value.clone().requires_grad_() for name, value in grid.start.items()}
        self._best: Values = grid.start
        self._optimizer = torch.optim.Adam(
            [
                {"params": [value], "lr": getattr(settings.learning_rates, name)}
                for name, value in self._values.items()
            ],
            eps=1e-15,
        )
        self.course = Course(stopped="" if settings.steps else "steps")
        self.course.start_score = self.course.best_score = self._score_of_closed_form(closed_form)

    def loss(self) -> Float[Tensor, ""]:
        """The loss of this step's pictures, on backgrounds of which every other is white, the rest of a random colour."""
        random = generator(self._seed, self.uid, f"refinement step {self.course.step}")
        count = min(self._settings.batch_views, len(self._learned.c2w))
        batch = self._learned.select(random.permutation(len(self._learned.c2w))[:count].tolist())
        colours = np.where(random.random((count, 1)) < 0.5, 1.0, random.random((count, 3)))
        background = batch.rgba.new_tensor(colours)
        rendering = rasterize(self._grid.gaussians(self._values), batch.c2w, batch.intrinsics, _BLACK)
        weights = self._settings.weights
        loss = picture_loss(rendering, batch.rgba, background, weights, self._lpips)
        return loss + weights.roughness * self._grid.roughness(self._values)

    def update(self) -> None:
        """Step along the gradients that are there, and score the state when it is time to."""
        course, settings = self.course, self._settings
        gradients = [value.grad.abs().sum() for value in self._values.values() if value.grad is not None]
        if not bool(torch.isfinite(torch.stack(gradients)).all()):
            course.stopped = "diverged"
            return
        self._set_learning_rates()
        self._optimizer.step()
        self._optimizer.zero_grad()
        confine(self._values)
        course.step += 1
        if course.step % settings.validate_every == 0 or course.step == settings.steps:
            self._judge(self._score(self._grid.gaussians(self._values)))
        if course.step == settings.steps and not course.stopped:
            course.stopped = "steps"

    def _set_learning_rates(self) -> None:
        share = self._settings.final_learning_rate ** (self.course.step / max(self._settings.steps - 1, 1))
        for name, group in zip(self._values, self._optimizer.param_groups, strict=True):
            group["lr"] = share * getattr(self._settings.learning_rates, name)

    def _score_of_closed_form(self, closed_form: GaussianTensors | None) -> float:
        """The better of the start and of what is published without refinement."""
        candidates = [self._grid.gaussians(self._grid.start), *([closed_form] if closed_form else [])]
        return max(self._score(candidate) for candidate in candidates)

    def _score(self, gaussians: GaussianTensors) -> float:
        """PSNR on the validation pictures, on white, dB."""
        held_back = self._held_back
        with torch.no_grad():
            made = rasterize(gaussians, held_back.c2w, held_back.intrinsics).rgb
            return float(
                psnr(made, on_background(held_back.rgba, torch.ones_like(held_back.rgba[:, 0, 0, :3]))).mean()
            )

    def _judge(self, score: float) -> None:
        course = self.course
        if not np.isfinite(score):
            course.stopped = "diverged"
            return
        course.fruitless = 0 if score >= course.best_score + self._settings.least_gain else course.fruitless + 1
        if score > course.best_score:
            course.best_score, course.best_step = score, course.step
            self._best = {name: value.detach().clone() for name, value in self._values.items()}
        if course.fruitless >= self._settings.patience:
            course.stopped = "no further gain"

    def splatter_images(self) -> list[Gaussians] | None:
        """The best state, one Gaussian per pixel and view; None where nothing beat the closed form."""
        return self._grid.splatter_images(self._best) if self.course.best_step else None

    def depth_shift(self) -> float:
        """Median distance of the best state's means from the closed form's along their rays, pixels."""
        return float(self._grid.depth_shifts(self._best).abs().median())

    def save(self, path: Path, fingerprint: str) -> None:
        """Write all that the rest of the course depends on, atomically: one safetensors file, the course in its header."""
        moments = [self._optimizer.state.get(value, {}) for value in self._values.values()]
        tensors = {f"value.{name}": value.detach() for name, value in self._values.items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for name, state in zip(self._values, moments, strict=True):
            tensors |= {f"{moment}.{name}": value for moment, value in state.items()}
        # A copy each, because the start may stand for the best as well and the format shares no memory.
        tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        header = {"fingerprint": fingerprint, "course": json.dumps(asdict(self.course))}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=header)

    def resume(self, path: Path, fingerprint: str) -> bool:
        """Go on from a saved state; False where there is none, or one of another input, settings or code."""
        if not path.is_file():
            return False
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("fingerprint") != fingerprint:
                return False
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        self.course = Course(**json.loads(header["course"]))
        with torch.no_grad():
            for name, value in self._values.items():
                value.copy_(tensors[f"value.{name}"])
        self._best = {name: tensors[f"best.{name}"].to(value.device) for name, value in self._values.items()}
        if self.course.step:
            states = [{moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS} for name in self._values]
            state = {"state": dict(enumerate(states)), "param_groups": self._optimizer.state_dict()["param_groups"]}
            self._optimizer.load_state_dict(state)
        return True


def _check_pictures(uid: str, pictures: Pictures, settings: RefinementSettings) -> None:
    count, side = len(pictures.c2w), min(pictures.rgba.shape[1:3])
    if count <= settings.validation_views:
        raise InputError(
            f"{uid}: of {count} pictures {settings.validation_views} are for validation, none to learn from",
            "raise refinement.views",
        )
    if side < SSIM_WINDOW:
        raise InputError(
            f"{uid}: pictures of {side} pixels, where SSIM needs {SSIM_WINDOW} or more", "raise splatter.resolution"
        )


def advance(refinements: Sequence[Refinement]) -> None:
    """Take every refinement that is not over one step further.

    On a GPU the pictures of all are queued before the first is waited for. The losses share no tensor, so none changes another.
    """
    running = [refinement for refinement in refinements if not refinement.course.stopped]
    if not running:
        return
    torch.autograd.backward([refinement.loss() for refinement in running])
    for refinement in running:
        refinement.update()
