"""A reconstruction as a run of the trackers that its parameters name: MLflow, TensorBoard, Weights & Biases, or none.

with tracked_run(parameters, workspace, uid, folder) as tracker:
    optimise(task, folder, parameters.loop, tracker)
    tell_mesh(tracker, parameters.loop.steps, mesh)
    tell_files(tracker, [path])

Loss terms and previews are told by the loop. A run that is killed and goes on is one run, as of trainings
(`training.tracking`): its journal bears the name of the folder that it works in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geometry.triangle_mesh import TriangleMesh
from reconstruction.optimisation.section import SECTION, ReconstructSection
from stage.errors import StagePreemptedError
from stage.workspace import Workspace
from training.tracking.journals import RECONSTRUCTIONS
from training.tracking.run_origin import place_tags
from training.tracking.tracker import Tracker, flattened
from training.tracking.trackers import open_trackers

_METHODS = {"neus", "sjc", "sds", "anchored_sds"}


@contextmanager
def tracked_run(parameters: ReconstructSection, workspace: Workspace, subject: str, folder: Path) -> Iterator[Tracker]:
    """Report a reconstruction: what it is asked to do at the beginning, and in the end whether it succeeded.

    Args:
        parameters: of the run and its trackers.
        workspace: where it works.
        subject: the object.
        folder: the run's own, whose name tells it from all that would learn anything else.

    Raises:
        InputError: when the package of a tracker is missing.
        ViewforgeError: when another process reports on the same run.
    """
    title = f"reconstruct {parameters.method} {subject}"
    tracker = open_trackers(parameters.tracking, workspace, title, f"{RECONSTRUCTIONS}/{folder.name}")
    try:
        _introduce(tracker, parameters, workspace, subject)
        yield tracker
    except StagePreemptedError:
        # The run goes on with the next attempt.
        raise
    except BaseException:
        tracker.fail()
        raise
    tracker.finish()


def tell_mesh(tracker: Tracker, step: int, mesh: TriangleMesh) -> None:
    """Note what came out of the field.

    Args:
        tracker: of the run.
        step: the last one.
        mesh: dense, before any decimation.
    """
    facts = {"faces": float(len(mesh.faces)), "closed": float(mesh.is_watertight)}
    tracker.metrics({f"{SECTION}/mesh/{name}": value for name, value in facts.items()}, step)


def tell_files(tracker: Tracker, paths: Sequence[Path]) -> None:
    """Keep files with the run."""
    for path in paths:
        tracker.artifact(path)


def _introduce(tracker: Tracker, parameters: ReconstructSection, workspace: Workspace, subject: str) -> None:
    tracker.parameters({"subject": subject, **flattened(_told(parameters), f"{SECTION}.")})
    tags = {"viewforge.reconstruct.subject": subject, "viewforge.reconstruct.method": parameters.method}
    for key, value in {**place_tags(workspace, "viewforge reconstruct"), **tags}.items():
        tracker.tag(key, value)


def _told(parameters: ReconstructSection) -> dict[str, Any]:
    """All but other methods' parameters, which say nothing of this run."""
    others = _METHODS - {parameters.method.replace("-", "_")}
    return parameters.model_dump(mode="json", exclude={*others, "tracking"})
