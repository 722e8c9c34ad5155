"""Experiment tracking: one small protocol, and its two simplest kinds: silence, and several trackers at once.

MLflow's is `training.tracking.mlflow_run`; TensorBoard's and Weights & Biases' are in `training.tracking.other_trackers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class DatasetInput:
    """One split of a shard set that a run reads."""

    name: str
    place: str
    """Folder or URL, without secrets."""
    sha256: str
    """Of the set's index, which stands for all of its bytes."""
    context: str
    """training or validation."""
    facts: Mapping[str, str]
    """split, objects, views, licences."""


class Tracker(Protocol):
    """Where a training run reports. No call waits for a server."""

    def continue_after(self, step: int) -> None:
        """Begin to report, the next step being the one after this; called once, before the first figures."""

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""

    def tag(self, key: str, value: str) -> None:
        """Label the run."""

    def inputs(self, datasets: Sequence[DatasetInput]) -> None:
        """Note what the run reads."""

    def image(self, name: str, path: Path, step: int) -> None:
        """Show a PNG file, which stays where it is."""

    def artifact(self, path: Path) -> None:
        """Keep a file with the run, which stays where it is."""

    def finish(self) -> None:
        """Mark the run as successful; nothing is noted after it."""

    def fail(self) -> None:
        """Mark the run as failed; nothing is noted after it."""


class Several:
    """Several trackers as one.

    Args:
        trackers: they are told everything in this order.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def continue_after(self, step: int) -> None:
        """Begin to report."""
        for tracker in self._trackers:
            tracker.continue_after(step)

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do."""
        for tracker in self._trackers:
            tracker.parameters(values)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""
        for tracker in self._trackers:
            tracker.metrics(values, step)

    def tag(self, key: str, value: str) -> None:
        """Label the run."""
        for tracker in self._trackers:
            tracker.tag(key, value)

    def inputs(self, datasets: Sequence[DatasetInput]) -> None:
        """Note what the run reads."""
        for tracker in self._trackers:
            tracker.inputs(datasets)

    def image(self, name: str, path: Path, step: int) -> None:
        """Show a PNG file."""
        for tracker in self._trackers:
            tracker.image(name, path, step)

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""
        for tracker in self._trackers:
            tracker.artifact(path)

    def finish(self) -> None:
        """Mark the run as successful."""
        for tracker in self._trackers:
            tracker.finish()

    def fail(self) -> None:
        """Mark the run as failed."""
        for tracker in self._trackers:
            tracker.fail()


class Silence(Several):
    """A tracker for the processes of a distributed run that do not report."""

    def __init__(self) -> None:
        super().__init__(())


def flattened(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested parameters as one level of dotted keys."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
