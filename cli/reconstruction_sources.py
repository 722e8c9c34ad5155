"""What `viewforge reconstruct` starts from: a picture, a rendered object of the workspace, or a folder of views.

Imported when the command is called: it needs the systems.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from blender_render.camera_sets import FOV, View
from blender_render.rendered_object import TRANSFORMS
from cli.sampling_pictures import PictureOptions, asked_elevation
from geometry.cameras import Intrinsics, look_at_origin
from reconstruction.methods.input_view import InputView
from reconstruction.optimisation.memory import enough_memory
from reconstruction.posed_views import PosedViews
from reconstruction.priors.latent_prior import LatentPrior, prior_of
from reconstruction.view_folders import is_view_folder, read_posed_views, read_view, write_posed_views
from stage.errors import InputError
from stage.files import file_sha256, folder_sha256, write_json
from stage.packs import object_folder, unpack_kept
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.object_pipeline import ObjectPipeline
from systems.pictures.choices import FramingName
from systems.pictures.opening import open_picture
from systems.pictures.preparation import prepare
from systems.pipelines import load_pipeline
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.compositing import picture_tensor

DISTANCE = 1.5
"""Where training's nearest cameras stand: an object that is framed as they see it has about 1 for its longest side."""
_ESTIMATE_STEPS = 20


@dataclass(frozen=True)
class SourceOptions:
    """The command's options about what it starts from."""

    source: str
    model: Path | None
    foreground: str
    framing: FramingName | None
    elevation: str | None
    elevation_model: Path | None
    scale: float | None
    view: int
    views: int
    sampling_steps: int
    sampling_guidance: float
    seed: int
    distance: float = DISTANCE


@dataclass(frozen=True)
class Source:
    """Where the pictures lie: a file, or a folder of views with cameras."""

    path: Path
    subject: str
    options: SourceOptions
    workspace: Workspace
    device: torch.device

    @classmethod
    def found(cls, options: SourceOptions, workspace: Workspace, device: torch.device) -> "Source":
        """What the command line names.

        Raises:
            InputError: when it is nothing that is there.
        """
        path = Path(options.source)
        if path.is_file():
            return cls(path, path.stem, options, workspace, device)
        if is_view_folder(path):
            return cls(path, path.resolve().name, options, workspace, device)
        return cls(_rendered(options.source, workspace), options.source, options, workspace, device)

    @property
    def has_cameras(self) -> bool:
        """Whether there are views with cameras."""
        return self.path.is_dir()

    @property
    def model(self) -> Path:
        """The pipeline's folder."""
        return self.options.model or self.workspace.model

    def identity(self, method: str) -> dict[str, Any]:
        """What a run must share with one that it goes on from."""
        told = {name: str(value) for name, value in vars(self.options).items() if name != "source"}
        digest = folder_sha256(self.path) if self.has_cameras else file_sha256(self.path)
        if method == "neus" and self.has_cameras:
            return {"pictures": digest}
        files = sorted(path for path in self.model.rglob("*") if path.is_file())
        weights = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return {"pictures": digest, "options": told, "model": weights}

    def posed_views(self, folder: Path) -> PosedViews:
        """Views with cameras: the source's own, or those that the model samples around the picture.

        Sampled ones are kept in a run's folder, so that a run that was killed has the same.

        Raises:
            InputError: when there is no such picture, or the model makes no views around it.
            StageFailedError: when memory does not suffice.
        """
        if self.has_cameras:
            return read_posed_views(self.path)
        if not (folder / TRANSFORMS).is_file():
            with enough_memory(f"sampling {self.options.views} views", lambda: "take a smaller model"):
                self._sample_around(folder)
        return read_posed_views(folder)

    def prior(self, folder: Path, learning: Callable[[InputView], InputView]) -> tuple[LatentPrior, InputView]:
        """The model that knows the picture, and the picture, both in the world in which a field learns.

        Args:
            folder: of the run.
            learning: brings the picture into that world.

        Raises:
            InputError: when there is no such picture, or the model is no prior.
        """
        pipeline = self._pipeline()
        if pipeline.needs_scale and self.options.scale is None:
            raise InputError(f"{self.model} divides by a scale of the scene", "give --scale")
        view = learning(self._input(pipeline, folder))
        scale = None if self.options.scale is None else self.options.scale * view.scale
        with enough_memory("encoding the picture", lambda: "take a smaller model"):
            return prior_of(pipeline, view.picture[None], view.camera, scale), view

    def _pipeline(self) -> ObjectPipeline:
        pipeline = load_pipeline(self.model)
        pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
        return pipeline.to(self.device)

    def _input(self, pipeline: ObjectPipeline, folder: Path) -> InputView:
        """The one picture that the model is shown."""
        size = pipeline.image_size
        if self.has_cameras:
            picture, camera = read_view(self.path, self.options.view)
            return _input_view(picture, View(camera.c2w, camera.intrinsics.resized(size, size)))
        made = prepare(open_picture(self.path), pipeline.framing, self.options.foreground, self.options.framing)
        print(f"reconstruct: {made.line}", flush=True)
        polar = math.radians(90.0 - self._elevation_deg(pipeline, folder))
        camera = View(look_at_origin(polar, 0.0, self.options.distance), Intrinsics.from_fov(float(FOV), size))
        return _input_view(made.picture, camera)

    def _elevation_deg(self, pipeline: ObjectPipeline, folder: Path) -> float:
        """Given, or estimated once in a run; what speaks for an estimate, or against it, is told each time."""
        kept, chosen = folder / "elevation.json", self.options
        if not kept.is_file():
            shown = PictureOptions(self.path, chosen.foreground, chosen.framing)
            sampling = {"num_inference_steps": _ESTIMATE_STEPS, "guidance_scale": chosen.sampling_guidance}
            found = asked_elevation(
                pipeline, shown, chosen.elevation, chosen.elevation_model, chosen.seed, True, **sampling
            )
            write_json(kept, {"elevation_deg": found.degrees or 0.0, "estimate": found.estimate})
        told = json.loads(kept.read_text())
        if told["estimate"]:
            print(f"reconstruct: {told['estimate']}", flush=True)
        return float(told["elevation_deg"])

    def _sample_around(self, folder: Path) -> None:
        pipeline = self._pipeline()
        shown = self._input(pipeline, folder.parent)
        seed = derive_seed(self.options.seed, self.subject, "orbit")
        made = ViewFusionPipeline(pipeline).orbit(
            shown.picture[None],
            shown.camera,
            self.options.views,
            num_inference_steps=self.options.sampling_steps,
            guidance_scale=self.options.sampling_guidance,
            generator=torch.Generator().manual_seed(seed),
        )
        lens = shown.camera.intrinsics
        write_posed_views(folder, made.images, [View(c2w, lens) for c2w in made.c2w])


def _rendered(uid: str, workspace: Workspace) -> Path:
    """The folder of an object that a workspace rendered."""
    renders = workspace.scratch / "renders"
    folder = object_folder(renders, uid)
    named = len(Path(uid).parts) == 1
    if named:
        unpack_kept(workspace.renders, renders, [uid])
    if not named or not is_view_folder(folder):
        raise InputError(
            f"{uid} is no picture, no folder with a {TRANSFORMS}, and no object that {workspace.root} rendered",
            "name one of these",
        )
    return folder


def _input_view(picture: Image.Image, camera: View) -> InputView:
    """On white, with the coverage that its alpha tells."""
    size = camera.intrinsics.width
    if picture.width != picture.height:
        raise InputError(f"the view is {picture.width}×{picture.height}", "a model is shown square pictures")
    alpha = picture.getchannel("A").resize((size, size), Image.Resampling.BICUBIC)
    mask = torch.from_numpy(np.asarray(alpha, dtype=np.float32) / 255.0)
    return InputView(picture_tensor(picture, (size, size)), mask, camera)
