"""Two folders of pictures, made up; an executor that runs the worker function here, so that a test need not start processes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.folders import scoring
from evaluation.folders.object_scoring import score_object
from evaluation.folders.parameters import FolderParameters
from evaluation.folders.publication import FolderEvaluation
from stage.executor import ExecutorParameters, Job
from stage.failures import FailureClass, Outcome
from stage.worker_host import answer

SIDE = 16
PARAMETERS = FolderParameters.model_validate({"metrics": {"names": ["psnr", "ssim"]}})


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    """RGB noise of 8 bits, far from black and white."""
    return np.random.default_rng(seed).integers(40, 200, (side, side, 3), dtype=np.uint8)


def save(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


def write_pair(root: Path, objects: int = 3, views: int = 3, off: int = 10) -> tuple[Path, Path]:
    """`predictions` and `truth` of `object_0` …; predictions are `off` grey levels too bright."""
    predictions, truth = root / "predictions", root / "truth"
    for number in range(objects):
        for view in range(views):
            rgb = picture(100 * number + view)
            save(truth / f"object_{number}" / f"{view:03d}.png", rgb)
            save(predictions / f"object_{number}" / f"{view:03d}.png", rgb + np.uint8(off))
    return predictions, truth


class HereExecutor:
    """Runs jobs in this process, one after the other."""

    def __init__(self, _: ExecutorParameters) -> None:
        pass

    def run(self, _: str, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome a job."""
        for job in jobs:
            said = answer(score_object, job.message())
            failure = FailureClass(said["failure"]) if "failure" in said else None
            yield Outcome(job.uid, failure, said.get("message", ""), "", 1, 0.0, 0, said.get("result", {}))


def score_here(monkeypatch, predictions: Path, truth: Path, output: Path, **values: object) -> FolderEvaluation:
    """`evaluate_folders` without processes."""
    monkeypatch.setattr(scoring, "executor_for", HereExecutor)
    parameters = FolderParameters.model_validate({**PARAMETERS.model_dump(), **values})
    return scoring.evaluate_folders(predictions, truth, output, parameters)
