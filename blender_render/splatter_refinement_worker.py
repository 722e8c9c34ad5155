"""What a worker does to refine the splatter images of a batch of objects: read, optimise, judge from unseen views, write.

`refine_objects` is called by `stage.worker_host` in a process of its own; Blender is not needed. A refinement's state is saved
beside its folder every so many steps, so that one that was killed goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blender_render.closed_form import Shot
from blender_render.parameters import RefinementParameters
from blender_render.rendered_object import TRANSFORMS, is_complete, read_record, read_rgba, read_views
from blender_render.splatter_files import FUSED, read_splatter_images, write_splatter_files
from blender_render.splatter_quality import quality
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.perceptual import Unavailable, find_lpips_network
from geometry.pixel_grid import PixelGrid
from geometry.ply import read_ply
from geometry.refinement import Pictures, Refinement, advance
from stage.errors import InputError
from stage.files import replacing_folder, write_bytes, write_json
from stage.stopwatch import Stopwatch
from stage.worker_host import answer

# LGM leaves out what is fainter when it saves.
_LEAST_OPACITY = 0.005


# What the record says of the course.
_TOLD = ("step", "best_step", "stopped", "start_score", "best_score")


@dataclass(frozen=True, eq=False)
class _Subject:
    """An object that is being refined."""

    uid: str
    closed_form: Path
    output: Path
    fingerprint: str
    refinement: Refinement
    images: list[Gaussians]
    """The closed form of each view."""
    fused: Gaussians
    """The closed form that is published."""
    check: list[Shot]
    """What neither the Gaussians nor their refinement have seen."""

    @property
    def state(self) -> Path:
        """Where the refinement is saved while it is under way."""
        return self.output.with_name(f"{self.uid}.state.safetensors")


def refine_objects(payload: dict[str, Any]) -> dict[str, Any]:
    """Refine a batch of objects; each one's folder appears whole or not at all, as soon as it is done.

    Args:
        payload: "objects", of each its "uid", "fingerprint", "closed_form" and "output" folders; "refinement",
            `RefinementParameters`; "seed"; "lpips", why that takes no part or an empty string.

    Returns:
        For each uid "failure" (a class or an empty string), "message" and "seconds" of the batch's phases.
    """
    parameters, stopwatch = RefinementParameters.model_validate(payload["refinement"]), Stopwatch()
    todo = [one for one in payload["objects"] if not is_complete(Path(one["output"]), one["fingerprint"])]
    replies: dict[str, dict[str, Any]] = {}
    subjects: list[_Subject] = []
    with stopwatch.phase("read"):
        network = _network(parameters, payload["lpips"])
        for one in todo:
            # One object's trouble is its own: the others of the batch go on.
            replies[one["uid"]] = answer(partial(_join, subjects, parameters, payload["seed"], network), one)
    while subjects:
        with stopwatch.phase("optimise"):
            _advance(subjects, parameters.checkpoint_every)
        for subject in [subject for subject in subjects if subject.refinement.course.stopped]:
            subjects.remove(subject)
            with stopwatch.phase("write"):
                replies[subject.uid] = answer(partial(_finish, subject), {**payload, "output": str(subject.output)})
    seconds = stopwatch.seconds()
    return {one["uid"]: _said(replies.get(one["uid"], {}), seconds) for one in payload["objects"]}


def _said(reply: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    return {"failure": str(reply.get("failure", "")), "message": reply.get("message", ""), "seconds": seconds}


def _network(parameters: RefinementParameters, missing: str) -> Any | None:  # noqa: ANN401 - see find_lpips_network
    """The network of LPIPS where it takes part.

    Raises:
        InputError: when it was there when the stage was planned and is not here.
    """
    if not parameters.weights.lpips or missing:
        return None
    network = find_lpips_network()
    if isinstance(network, Unavailable):
        raise InputError(f"LPIPS is {network}", "install it for all workers, or set refinement.weights.lpips to 0")
    return network.requires_grad_(False).to(_device(parameters))


def _device(parameters: RefinementParameters) -> torch.device:
    if parameters.device != "auto":
        return torch.device(parameters.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _join(
    subjects: list[_Subject],
    parameters: RefinementParameters,
    seed: int,
    network: Any | None,  # noqa: ANN401 - see find_lpips_network
    one: dict[str, Any],
) -> dict[str, Any]:
    """Read an object and put it among the others, where it was when it was last saved."""
    folder, device = Path(one["closed_form"]), _device(parameters)
    cameras, count = read_views(folder), read_record(folder)["supervision_views"]
    images, fused = read_splatter_images(folder, len(cameras)), read_ply(folder / FUSED)
    c2w, lenses = np.stack([camera.c2w for camera in cameras]), [camera.intrinsics for camera in cameras]
    grid = PixelGrid.of(images, c2w, lenses, parameters.depth_reach, device)
    shots = _read_shots(folder / "views")
    learned, published = _pictures(shots[:count], device), GaussianTensors.of(fused, device)
    refinement = Refinement(grid, learned, parameters, seed, one["uid"], published, network)
    places = (folder, Path(one["output"]), one["fingerprint"])
    subject = _Subject(one["uid"], *places, refinement, images, fused, shots[count:])
    refinement.resume(subject.state, subject.fingerprint)
    subjects.append(subject)
    return {}


def _read_shots(folder: Path) -> list[Shot]:
    return [Shot(view, read_rgba(folder, number)) for number, view in enumerate(read_views(folder))]


def _pictures(shots: Sequence[Shot], device: torch.device) -> Pictures:
    rgba = np.stack([shot.rgba for shot in shots]).astype(np.float32) / 255.0
    lenses = tuple(shot.view.intrinsics for shot in shots)
    return Pictures(torch.from_numpy(rgba).to(device), np.stack([shot.view.c2w for shot in shots]), lenses)


def _advance(subjects: Sequence[_Subject], checkpoint_every: int) -> None:
    """One step of all, and the state of those that have gone far enough since it was last saved."""
    advance([subject.refinement for subject in subjects])
    for subject in subjects:
        course = subject.refinement.course
        if not course.stopped and course.step % checkpoint_every == 0:
            subject.refinement.save(subject.state, subject.fingerprint)


def _finish(subject: _Subject, payload: dict[str, Any]) -> dict[str, Any]:
    """Write the folder of an object whose refinement is over: the best state, or the closed form if nothing beat it."""
    refined = subject.refinement.splatter_images()
    fused = _union(refined) if refined else subject.fused
    record = _record(subject, fused, payload)
    with replacing_folder(subject.output) as folder:
        write_splatter_files(folder, refined or subject.images, fused, read_views(subject.closed_form))
        write_json(folder / "record.json", record)
        write_bytes(folder / TRANSFORMS, (subject.closed_form / TRANSFORMS).read_bytes())
    subject.state.unlink(missing_ok=True)
    return {}


def _record(subject: _Subject, fused: Gaussians, payload: dict[str, Any]) -> dict[str, Any]:
    """The closed form's record with what has become of it."""
    record, refinement = read_record(subject.closed_form), subject.refinement
    del record["supervision_views"]
    before, course = record["quality"]["fused"], asdict(refinement.course)
    after = quality(fused, subject.check) if course["best_step"] else before
    told = {
        "kept": "refined" if course["best_step"] else "closed form",
        "before": _means(before),
        "after": _means(after),
        "depth_shift": round(refinement.depth_shift(), 4),
        "lpips": _lpips_note(payload),
    }
    if course["best_step"]:
        count = len(fused)
        record |= {"quality": {"fused": after, "union": after}, "gaussians": count, "union_gaussians": count}
    course_told = {name: course[name] for name in _TOLD}
    return {**record, "fingerprint": subject.fingerprint, "refinement": {**course_told, **told}}


def _union(views: Sequence[Gaussians]) -> Gaussians:
    """The Gaussians of all views that can be seen."""
    return concatenate([view.select(view.opacities >= _LEAST_OPACITY) for view in views])


def _means(scores: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(float(np.mean(values)), 4) for name, values in scores.items()}


def _lpips_note(payload: dict[str, Any]) -> str:
    """Whether LPIPS took part, for the record."""
    return str(payload["lpips"] or ("used" if payload["refinement"]["weights"]["lpips"] else "not used"))
