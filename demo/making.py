"""One request from a picture to files: views, a turn's strip and video, Gaussians where the model makes some."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from blender_render.camera_sets import View
from demo.jobs import Job
from demo.memory import of_this_process
from demo.wishes import Wish
from geometry.ply import write_ply
from reconstruction.view_folders import write_posed_views
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline, pictures_of, seen_gaussians
from systems.object_pipeline import ObjectPipeline
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.compositing import picture_tensor
from systems.zero123.schedulers import scheduler_named
from viewing.conversion import upright
from viewing.row import write_row
from viewing.video import write_video

_FRAMES_PER_SECOND = 12
_VIEWS_AT_ONCE = 8


@dataclass(frozen=True)
class Made:
    """The files of a request."""

    picture: Path
    """PNG: the view, or all views of a turn side by side, the picture first."""
    video: Path | None
    """MP4 of a turn."""
    gaussians: Path | None
    """PLY, in the picture's frame, Z up."""
    turned: Path | None
    """The same for viewers, which take −Y for up."""
    views: Path | None
    """Folder of an object's turn, the picture first, with its cameras (`reconstruction.view_folders`)."""
    wants_turn: bool
    """Whether a turn would tell the object's shape."""
    memory: str
    """What it took, in words."""


def make(pipeline: ObjectPipeline, picture: Image.Image, wish: Wish, folder: Path, job: Job) -> Made:
    """Sample what a visitor wishes, and write it.

    Args:
        pipeline: the model, on its device.
        picture: RGBA, prepared for it.
        wish: what is wanted.
        folder: where the files go.
        job: is told of each step, and says when to end.

    Raises:
        CancelledJobError: when the job is cancelled.
        InputError: when the model cannot do what is wished, or memory does not suffice.
    """
    device = pipeline.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        with _sampler_of(pipeline, wish):
            return _made(pipeline, picture, wish, folder, job)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise InputError("the GPU's memory does not suffice", "ask for fewer views") from None


@contextmanager
def _sampler_of(pipeline: ObjectPipeline, wish: Wish) -> Iterator[None]:
    """The sampler of the wish while it is served; afterwards the model's own, which the next visitor gets."""
    if wish.scheduler is None:
        yield
        return
    own = pipeline.scheduler
    pipeline.scheduler = scheduler_named(wish.scheduler, own)
    try:
        yield
    finally:
        pipeline.scheduler = own


def _made(pipeline: ObjectPipeline, picture: Image.Image, wish: Wish, folder: Path, job: Job) -> Made:
    folder.mkdir(parents=True, exist_ok=True)
    shown = picture_tensor(picture, (pipeline.image_size,) * 2)[None]
    ply, turned = None, None
    if isinstance(pipeline, GaussianPipeline):
        splatters = _splatters(pipeline, shown, wish, job)
        ply, turned = _write_gaussians(splatters, folder)
        views = _rasterised(splatters, _wanted(wish, shown.shape[-1]), job)
    else:
        views = _views(pipeline, shown, wish, job)
    job.expect(0, "writing")
    # A scene is all around its camera, and has no outline.
    of_views = ply is None and not pipeline.needs_scale
    around = torch.cat([shown / 2 + 0.5, views]) if wish.around else None
    still, video = _write_pictures(folder, views, around)
    posed = _write_views(folder / "views", around, wish) if of_views and around is not None else None
    memory = of_this_process(pipeline.device)
    return Made(still, video, ply, turned, posed, of_views and posed is None, memory)


def _write_pictures(
    folder: Path, views: Float[Tensor, "n 3 h w"], around: Float[Tensor, "v 3 h w"] | None
) -> tuple[Path, Path | None]:
    if around is None:
        write_row(folder / "view.png", views)
        return folder / "view.png", None
    write_row(folder / "turn.png", around)
    frames = (around.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    write_video(folder / "turn.mp4", frames, around.shape[-1], _FRAMES_PER_SECOND)
    return folder / "turn.png", folder / "turn.mp4"


def _write_views(folder: Path, around: Float[Tensor, "v 3 h w"], wish: Wish) -> Path:
    size = around.shape[-1]
    write_posed_views(folder, around, [wish.condition(size), *wish.turn(size)])
    return folder


def _wanted(wish: Wish, size: int) -> list[View]:
    return wish.turn(size) if wish.around else [wish.target(size)]


def _views(pipeline: ObjectPipeline, shown: Tensor, wish: Wish, job: Job) -> Float[Tensor, "n 3 h w"]:
    size = shown.shape[-1]
    condition, options = wish.condition(size), _options(wish, job)
    if wish.around and wish.fused:
        fused = ViewFusionPipeline(pipeline)
        job.expect(wish.steps * (wish.views - 1), "denoising, a view after the other")
        turn: Float[Tensor, "n 3 h w"] = fused.orbit(shown, condition, wish.views, **options).images
        return turn[1:]
    targets = _wanted(wish, size)
    job.expect(wish.steps, "denoising")
    scale = wish.scale if pipeline.needs_scale else None
    views: Float[Tensor, "n 3 h w"] = pipeline.sample_views(shown, condition, targets, scale, **options).images
    return views


def _splatters(pipeline: GaussianPipeline, shown: Tensor, wish: Wish, job: Job) -> Float[Tensor, "v 14 h w"]:
    job.expect(wish.steps, "denoising Gaussians")
    return pipeline.sample_scene(shown, wish.condition(shown.shape[-1]), **_options(wish, job))


def _rasterised(splatters: Float[Tensor, "v 14 h w"], cameras: Sequence[View], job: Job) -> Float[Tensor, "n 3 h w"]:
    job.expect(len(cameras), "drawing Gaussians")
    pictures = []
    for camera in cameras:
        with torch.inference_mode():
            pictures.append(pictures_of(splatters, [camera]))
        job.advance()
    return torch.cat(pictures)


def _write_gaussians(splatters: Float[Tensor, "v 14 h w"], folder: Path) -> tuple[Path, Path]:
    gaussians = seen_gaussians(splatters)
    if not len(gaussians):
        raise InputError(
            "the model made no Gaussian that shows", "try another picture, or a model that was trained longer"
        )
    write_ply(folder / "gaussians.ply", gaussians)
    write_ply(folder / "upright.ply", upright(gaussians))
    return folder / "gaussians.ply", folder / "upright.ply"


def _options(wish: Wish, job: Job) -> dict[str, Any]:
    """`SamplerOptions`."""

    def stepped(*_: object) -> dict[str, Any]:
        job.advance()
        return {}

    return {
        "guidance_scale": wish.guidance,
        "num_inference_steps": wish.steps,
        "eta": wish.eta,
        "batch_size": _VIEWS_AT_ONCE,
        "generator": torch.Generator().manual_seed(wish.seed),
        "callback_on_step_end": stepped,
    }
