"""TensorBoard and Weights & Biases, through accelerate's own trackers.

They write files here (`wandb` sends them by itself), so nothing of them needs buffering. A resumed training continues the same
TensorBoard folder, hiding what it takes again, and the same run of wandb.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from PIL import Image

from stage.errors import InputError
from stage.workspace import Workspace
from training.tracking.parameters import TrackerName, TrackingParameters, WandbParameters
from training.tracking.tracker import DatasetInput

# accelerate takes the second where the first is missing.
_PACKAGES: dict[TrackerName, tuple[str, ...]] = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


class OtherRun:
    """A run in one of accelerate's trackers.

    Args:
        start: starts the tracker, given the steps that are done.
    """

    def __init__(self, start: Callable[[int], GeneralTracker]) -> None:
        self._start = start
        self._tracker: GeneralTracker | None = None
        self._before: dict[str, bool | int | float | str] = {}

    def continue_after(self, step: int) -> None:
        """Begin to report."""
        self._tracker = self._start(step)
        self._tracker.store_init_configuration(self._before)

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do."""
        for key, value in values.items():
            self._note(key, value if isinstance(value, bool | int | float) else str(value))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""
        if self._tracker:
            self._tracker.log(dict(values), step=step)

    def tag(self, key: str, value: str) -> None:
        """Label the run."""
        self._note(key, value)

    def inputs(self, datasets: Sequence[DatasetInput]) -> None:
        """Note what the run reads."""
        for dataset in datasets:
            facts = {"sha256": dataset.sha256, "place": dataset.place, **dataset.facts}
            for key, value in facts.items():
                self._note(f"{dataset.context}.{dataset.name}.{key}", value)

    def image(self, name: str, path: Path, step: int) -> None:
        """Show a PNG file."""
        if self._tracker:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))[None]
            # TensorBoard is told the order of the axes; wandb takes pictures as they are.
            options = {"dataformats": "NHWC"} if self._tracker.name == "tensorboard" else {}
            self._tracker.log_images({name: pixels}, step=step, **options)

    def artifact(self, path: Path) -> None:
        """Nothing: neither of them keeps files without a service behind it."""

    def finish(self) -> None:
        """Mark the run as successful."""
        if self._tracker:
            self._tracker.finish()

    def fail(self) -> None:
        """Mark the run as failed, where the tracker knows such a thing."""
        if isinstance(self._tracker, WandBTracker):
            self._tracker.tracker.finish(exit_code=1)
        elif self._tracker:
            self._tracker.finish()

    def _note(self, key: str, value: bool | int | float | str) -> None:
        """Configuration: all of it at the start, since TensorBoard makes a run of its own each time; later labels as text."""
        if self._tracker is None:
            self._before[key] = value
        elif isinstance(self._tracker, WandBTracker):
            self._tracker.store_init_configuration({key: value})
        else:
            self._tracker.log({key: str(value)})


def tensorboard_run(parameters: TrackingParameters, workspace: Workspace, run: str) -> OtherRun:
    """A run in TensorBoard's folder.

    Args:
        parameters: where it is.
        workspace: whose.
        run: its name, the same for each attempt.

    Raises:
        InputError: when the package is missing.
    """
    _check_installed("tensorboard")
    folder = workspace.root / parameters.tensorboard.folder

    def start(step: int) -> GeneralTracker:
        tracker = TensorBoardTracker(run, folder, purge_step=step + 1)
        tracker.start()
        return tracker

    return OtherRun(start)


def wandb_run(parameters: WandbParameters, workspace: Workspace, run: str) -> OtherRun:
    """A run in Weights & Biases.

    Args:
        parameters: its place there.
        workspace: below whose scratch folder its files lie.
        run: its id, the same for each attempt.

    Raises:
        InputError: when the package is missing; at the start, when wandb refuses.
    """
    _check_installed("wandb")

    def start(step: int) -> GeneralTracker:  # noqa: ARG001 - wandb itself leaves out steps that it has
        from wandb.errors import Error

        folder = workspace.scratch / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "entity": parameters.entity,
            "mode": parameters.mode,
            # An id has no slashes.
            "id": run.replace("/", "-"),
            "resume": "allow",
            "dir": str(folder),
        }
        tracker = WandBTracker(parameters.project, **options)
        try:
            tracker.start()
        except Error as error:
            raise InputError(
                f"wandb does not start: {str(error).splitlines()[0]}", "set train.tracking.wandb.mode to offline"
            ) from None
        return tracker

    return OtherRun(start)


def _check_installed(name: TrackerName) -> None:
    if not any(find_spec(package) for package in _PACKAGES[name]):
        raise InputError(
            f"train.tracking.trackers names {name}, which is not installed", "pip install 'viewforge[tracking]'"
        )
