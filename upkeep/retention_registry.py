"""What the registry needs, and what of MLflow's versions, runs, logged models and artifacts nobody does.

Only the experiment of viewforge is looked at: others may share the server.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.decision_record import SINCE_TAG
from registry.lineage import MODEL_TAG
from registry.version_records import logged_model_id
from stage.files import folder_sha256
from stage.workspace import Workspace
from training.tracking.journals import journals_folder
from training.tracking.mlflow_delivery import JOURNAL_TAG
from training.tracking.mlflow_place import EXPERIMENT
from upkeep.retention_item import KEEP_TAG, SECONDS_A_DAY
from upkeep.retention_parameters import RetentionParameters

_PAGE = 1000
_AWAITING = "awaiting approval"
_OPEN = {"RUNNING", "SCHEDULED"}


@dataclass(frozen=True)
class Holdings:
    """What MLflow holds of viewforge, and which of it is needed.

    Args:
        client: MLflow's.
        place: whose present model and journals count.
        parameters: how long things are kept.
    """

    client: MlflowClient
    place: Workspace
    parameters: RetentionParameters

    @cached_property
    def experiment(self) -> Any:  # noqa: ANN401 - MLflow's Experiment, or None
        """The experiment of all runs; None before the first."""
        return self.client.get_experiment_by_name(EXPERIMENT)

    @cached_property
    def versions(self) -> list[ModelVersion]:
        """Of all registered models, with all of their tags and aliases, the newest first."""
        found = []
        for model in _pages(lambda token: self.client.search_registered_models(page_token=token)):
            query = f"name = '{model.name}'"
            versions = _pages(lambda token, q=query: self.client.search_model_versions(q, page_token=token))
            aliases: dict[str, list[str]] = {}
            for alias, number in model.aliases.items():
                aliases.setdefault(str(number), []).append(alias)
            for version in versions:
                version.aliases.clear()
                version.aliases.extend(aliases.get(str(version.version), []))
                found.append(version)
        return sorted(found, key=lambda version: (version.name, -int(version.version)))

    @cached_property
    def old_versions(self) -> list[ModelVersion]:
        """Versions beyond those that are kept."""
        most = self.parameters.versions
        if most is None:
            return []
        rank: dict[str, int] = {}
        old = []
        for version in self.versions:
            rank[version.name] = rank.get(version.name, 0) + 1
            if rank[version.name] > most and not _is_needed(version):
                old.append(version)
        return old

    @property
    def restorable(self) -> list[ModelVersion]:
        """Versions whose data must stay: those with an alias, and former champions, to which a rollback leads."""
        return [version for version in self.versions if version.aliases or version.tags.get(SINCE_TAG)]

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, deleted ones too."""
        if self.experiment is None:
            return []
        experiments = [self.experiment.experiment_id]
        return list(
            _pages(
                lambda token: self.client.search_runs(
                    experiments, run_view_type=ViewType.ALL, max_results=_PAGE, page_token=token
                )
            )
        )

    @cached_property
    def models(self) -> list[LoggedModel]:
        """All logged models."""
        if self.experiment is None:
            return []
        experiments = [self.experiment.experiment_id]
        return list(_pages(lambda token: self.client.search_logged_models(experiments, page_token=token)))

    @cached_property
    def needed_models(self) -> set[str]:
        """Ids of the logged models of versions that stay."""
        return {str(logged_model_id(version)) for version in self._staying}

    @cached_property
    def needed_runs(self) -> set[str]:
        """Ids of runs of versions that stay, of their logged models, and of the workspace's present model and journals."""
        of_models = {str(model.source_run_id) for model in self.models if model.model_id in self.needed_models}
        return {str(version.run_id) for version in self._staying} | of_models | set(self._of_workspace())

    @property
    def _staying(self) -> list[ModelVersion]:
        gone = {(version.name, version.version) for version in self.old_versions}
        return [version for version in self.versions if (version.name, version.version) not in gone]

    def _of_workspace(self) -> Iterator[str]:
        present = folder_sha256(self.place.model) if self.place.model.is_dir() else None
        journals = set(_journals(self.place))
        for run in self.runs:
            tags = run.data.tags
            if (present and tags.get(MODEL_TAG) == present) or tags.get(JOURNAL_TAG) in journals:
                yield str(run.info.run_id)

    def is_old(self, milliseconds: int | None) -> bool:
        """Whether a time is further back than what is kept for its age; an unknown time is not."""
        return milliseconds is not None and milliseconds / 1000 < time.time() - self.parameters.days * SECONDS_A_DAY

    def spare_runs(self) -> list[Run]:
        """Runs that ended long ago and that nothing refers to, deleted ones too."""
        return [run for run in self.runs if self._is_spare(run)]

    def _is_spare(self, run: Run) -> bool:
        info, tags = run.info, run.data.tags
        if info.run_id in self.needed_runs or kept(tags) or info.status in _OPEN:
            return False
        return self.is_old(info.end_time or info.start_time)

    def spare_models(self) -> list[LoggedModel]:
        """Logged models of no version that are old: of registrations that were killed, and of versions that are gone."""
        return [
            model
            for model in self.models
            if model.model_id not in self.needed_models
            and not kept(model.tags)
            and self.is_old(model.creation_timestamp)
        ]


def kept(tags: dict[str, str]) -> bool:
    """Whether somebody tagged a thing `keep`, with anything but false."""
    return tags.get(KEEP_TAG, "false").strip().lower() != "false"


def _is_needed(version: ModelVersion) -> bool:
    tags = version.tags
    return bool(version.aliases or tags.get(SINCE_TAG) or kept(tags) or tags.get("promotion.decision") == _AWAITING)


def _journals(place: Workspace) -> Iterator[str]:
    """Names of the journals that lie in the workspace: their trainings may go on, or have something to send."""
    for path in journals_folder(place).glob("*/journal.jsonl"):
        with path.open() as stream:
            try:
                yield str(json.loads(stream.readline())["journal"])
            except (ValueError, KeyError, TypeError):
                continue


def _pages(ask: Any) -> Iterator[Any]:  # noqa: ANN401 - MLflow's lists have no common type
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return
