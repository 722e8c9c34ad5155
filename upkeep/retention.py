"""What an installation need not keep: finding it, and deleting it where that is asked for.

    viewforge gc               # list
    viewforge gc --delete      # delete

Whatever is listed is deleted or said to be left, with the reason. Nothing that a running stage or promotion may use is deleted,
and what cannot be judged, as while MLflow's server is away, is left.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from mlflow.exceptions import MlflowException

from registry.client import open_registry
from registry.data_version import FILES_TAG, read_data_version
from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive
from stage.secrets import redacted
from stage.workspace import Workspace
from upkeep.retention_cache import CacheCollector
from upkeep.retention_files import LogCollector, ScratchCollector
from upkeep.retention_item import Collector, Item
from upkeep.retention_mlflow import ModelCollector, OrphanCollector, RunCollector, VersionCollector
from upkeep.retention_parameters import RetentionParameters
from upkeep.retention_registry import Holdings, require_decided

# Whoever holds one of these works with scratch, DVC's cache or the registry.
_LOCKS = ("pipeline", "catalog", "render", "splatter", "shard", "import", "train", "evaluate", "promotion")
# Of the registry, in the order in which they are deleted.
_OF_REGISTRY: tuple[Callable[[Holdings], Collector], ...] = (
    OrphanCollector,
    VersionCollector,
    RunCollector,
    ModelCollector,
)


@dataclass
class Collected:
    """What was found and what became of it."""

    found: list[Item] = field(default_factory=list)
    """In the order in which it is deleted."""
    deleted: list[Item] = field(default_factory=list)
    """Of these."""
    left: list[str] = field(default_factory=list)
    """What was not looked at or not deleted, and why, in one line each."""


def collect(place: Workspace, parameters: RetentionParameters, *, delete: bool = False) -> Collected:
    """Find what nobody needs, and delete it if that is asked for.

    Args:
        place: whose files, cache and registry.
        parameters: what is kept.
        delete: whether to delete.
    """
    outcome = Collected()
    with _quiet(place, outcome, "all but logs", wanted=delete) as quiet:
        if quiet:
            _registry(place, parameters, outcome, delete)
            _one(lambda: ScratchCollector(place, parameters), "scratch", outcome, delete)
            _cache(place, outcome, delete)
        _one(lambda: LogCollector(place, parameters), "logs", outcome, delete)
    return outcome


@contextmanager
def _quiet(place: Workspace, outcome: Collected, what: str, *, wanted: bool) -> Iterator[bool]:
    """Hold all locks of the workspace's stages where that is wanted; whether they could be had."""
    with ExitStack() as stack:
        try:
            for name in _LOCKS if wanted else ():
                stack.enter_context(exclusive(place, name, patience=0.0))
        except ViewforgeError as error:
            outcome.left.append(f"{what}: {error}")
            yield False
        else:
            yield True


def _registry(place: Workspace, parameters: RetentionParameters, outcome: Collected, delete: bool) -> None:
    """Each kind by what MLflow holds then: a version that could not be deleted keeps its run."""
    try:
        with open_registry(place) as client:
            require_decided(client, place)
            asked = parameters
            for made in _OF_REGISTRY:
                holdings = Holdings(client, place, asked)
                _one(partial(made, holdings), "MLflow", outcome, delete)
                if delete and made is VersionCollector:
                    asked = parameters.model_copy(update={"versions": None})
    except InputError as error:
        outcome.left.append(f"MLflow: {error}")


def _cache(place: Workspace, outcome: Collected, delete: bool) -> None:
    """To look takes the locks, too: DVC counts under its own lock, for which a stage that ends meanwhile waits three seconds."""
    with _quiet(place, outcome, "DVC's cache", wanted=not delete) as quiet:
        if quiet:
            _one(lambda: CacheCollector(place, _locks(place)), "DVC's cache", outcome, delete)


def _locks(place: Workspace) -> list[str]:
    """The `dvc.lock` of each version whose data must stay.

    Raises:
        InputError: when one cannot be had, so that nobody knows what it refers to.
    """
    with open_registry(place) as client:
        require_decided(client, place)
        versions = Holdings(client, place, RetentionParameters()).restorable
        return [read_data_version(client, v).lock.decode() for v in versions if FILES_TAG in v.tags]


def _one(make: Callable[[], Collector], what: str, outcome: Collected, delete: bool) -> None:
    try:
        collector = make()
        items = list(collector.find())
    except (ViewforgeError, MlflowException, OSError) as error:
        outcome.left.append(f"{what}: {_line(error)}")
        return
    outcome.found += items
    for item in items if delete else ():
        try:
            collector.delete(item)
        except (ViewforgeError, MlflowException, OSError) as error:
            outcome.left.append(f"{item.kind} {item.name}: {_line(error)}")
        else:
            outcome.deleted.append(item)


def _line(error: Exception) -> str:
    return redacted((str(error).splitlines() or [type(error).__name__])[0])
