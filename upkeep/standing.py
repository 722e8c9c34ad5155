"""Who is champion and challenger in a workspace's registry, since when and with which figures, and what awaits a person."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from registry.approval import APPROVAL_TAG
from registry.client import open_registry
from registry.decision_record import SINCE_TAG
from stage.workspace import Workspace
from training.tracking.mlflow_place import bound_requests, use_mlflow
from upkeep.databases import refuse_damaged_file

_PATIENCE_SECONDS = 2
_LOOK_SECONDS = 0.5
_FIGURES = "evaluation.unseen.model."


@dataclass(frozen=True)
class Standing:
    """One version that has an alias or awaits approval."""

    model: str
    version: str
    aliases: tuple[str, ...]
    since: str
    """When it became champion, else when it was registered: ISO 8601."""
    decision: str
    """What was decided last: promoted, refused, awaiting approval, …; empty before any decision."""
    approval: str
    """What a person said of it; empty where nobody was asked."""
    figures: dict[str, float]
    """Its means over unseen objects."""


def standings(place: Workspace, model: str) -> list[Standing]:
    """The versions of one model that matter now, the champion first; none where nothing is registered.

    Raises:
        InputError: when MLflow does not answer within seconds, or its database is damaged.
    """
    bound_requests(_PATIENCE_SECONDS)
    uri = use_mlflow(place)
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        if not database.is_file():
            return []
        refuse_damaged_file(database, _LOOK_SECONDS)
    with open_registry(place) as client:
        names: dict[str, list[str]] = {}
        for known in client.search_registered_models(f"name = '{model}'"):
            for alias, version in known.aliases.items():
                names.setdefault(str(version), []).append(alias)
        found = client.search_model_versions(f"name = '{model}'")
        waiting = {str(v.version) for v in found if v.tags.get("promotion.decision") == "awaiting approval"}
        shown = [v for v in found if str(v.version) in names.keys() | waiting]
        return sorted(
            (_standing(v, names) for v in shown), key=lambda s: ("champion" not in s.aliases, -int(s.version))
        )


def _standing(version: ModelVersion, names: dict[str, list[str]]) -> Standing:
    figures = {key.removeprefix(_FIGURES): value for key, value in version.tags.items() if key.startswith(_FIGURES)}
    return Standing(
        version.name,
        str(version.version),
        tuple(sorted(names.get(str(version.version), []))),
        version.tags.get(SINCE_TAG) or _time(version.creation_timestamp),
        version.tags.get("promotion.decision", ""),
        version.tags.get(APPROVAL_TAG, ""),
        {name: float(value) for name, value in figures.items() if _is_number(value)},
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
