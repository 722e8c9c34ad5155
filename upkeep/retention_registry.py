"""What the registry needs, and what of MLflow's versions, runs, logged models and artifacts nobody does.

Only the experiment of viewforge is looked at: others may share the server.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlflow
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.decision_record import DECISION_FILE, SINCE_TAG, read_decision
from registry.lineage import MODEL_TAG
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace
from training.tracking.journals import journal_files
from training.tracking.mlflow_delivery import JOURNAL_TAG
from training.tracking.mlflow_place import EXPERIMENT
from upkeep.retention_item import KEEP_TAG, SECONDS_A_DAY
from upkeep.retention_parameters import RetentionParameters

_PAGE = 1000
_RUN, _MODEL = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
# Versions whose aliases move yet, or that a rollback may name although they were promoted before there was a tag for that.
_DECISIONS = {"awaiting approval", "promoting", "promoted"}
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
            if rank[version.name] > most and not is_needed(version):
                old.append(version)
        return old

    @property
    def restorable(self) -> list[ModelVersion]:
        """Versions whose data must stay: those that no number of versions lets go."""
        return [version for version in self.versions if is_needed(version)]

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
        return self._named_by_sources(_MODEL)

    @cached_property
    def needed_runs(self) -> set[str]:
        """Ids of runs of versions that stay, of logged models that do, and of the workspace's present model and journals."""
        models = [model for model in self.models if model.model_id in self.needed_models or kept(model.tags)]
        of_models = {str(model.source_run_id) for model in models}
        of_versions = {str(version.run_id) for version in self._staying} | self._named_by_sources(_RUN)
        return of_versions | of_models | set(self._of_workspace())

    def _named_by_sources(self, pattern: re.Pattern[str]) -> set[str]:
        """What the addresses of versions that stay name; one that was registered by hand may say no more."""
        return {name for version in self._staying for name in pattern.findall(str(version.source))}

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
        if info.run_id in self.needed_runs or info.run_id in self._taken_up or goes_on(run) or kept(tags):
            return False
        return self.is_old(info.end_time or info.start_time)

    @cached_property
    def _taken_up(self) -> set[str]:
        """Ids of runs with a young logged model: one that is being registered has it before it has a version."""
        return {str(model.source_run_id) for model in self.models if not self.is_old(model.creation_timestamp)}

    def is_run_needed_now(self, run: Run) -> bool:
        """Whether somebody runs, tagged or registered a run since it was found to be spare."""
        run_id = run.info.run_id
        if goes_on(run) or kept(run.data.tags) or self.client.search_model_versions(f"run_id = '{run_id}'"):
            return True
        found = self.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
        return any(not self.is_old(model.creation_timestamp) for model in found)

    def is_model_needed_now(self, model: LoggedModel) -> bool:
        """Whether somebody tagged or registered a logged model since it was found to be spare."""
        return kept(model.tags) or bool(self.client.search_model_versions(f"source_path = 'models:/{model.model_id}'"))

    def spare_models(self) -> list[LoggedModel]:
        """Logged models of no version that are old: of registrations that were killed, and of versions that are gone."""
        return [model for model in self.models if self.is_spare_model(model)]

    def is_spare_model(self, model: LoggedModel) -> bool:
        """Whether a logged model, deleted or not, is one of those."""
        if model.model_id in self.needed_models or kept(model.tags):
            return False
        return self.is_old(model.creation_timestamp)


def goes_on(run: Run) -> bool:
    """Whether a run has not ended."""
    return run.info.status in _OPEN


def kept(tags: dict[str, str]) -> bool:
    """Whether somebody tagged a thing `keep`, with anything but false."""
    return tags.get(KEEP_TAG, "false").strip().lower() != "false"


def require_decided(client: MlflowClient, place: Workspace) -> None:
    """Refuse a registry that lacks the version that the workspace last decided on: it is another one, new, or of an older backup.

    Nothing that the real one refers to is known to it.

    Raises:
        InputError: when that is so, or the decision cannot be read.
    """
    try:
        decision = read_decision(place)
        model, version = (str(decision["model"]), int(decision["version"])) if decision else ("", 0)
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{place.root / DECISION_FILE} holds no decision", "run viewforge promote") from None
    if not version:
        return
    versions = _pages(lambda token: client.search_model_versions(f"name = '{model}'", page_token=token))
    if version > max((int(known.version) for known in versions), default=0):
        raise InputError(
            f"{mlflow.get_tracking_uri()} knows no version {version} of {model}, on which {place.root} last decided",
            f"check MLFLOW_TRACKING_URI, or bring its database back (docs/runbook.md); delete {DECISION_FILE} if it is right",
        )


def is_needed(version: ModelVersion) -> bool:
    """Whether a version stays whatever its age: it has an alias, was or may become champion, or is tagged `keep`."""
    tags = version.tags
    return bool(version.aliases or tags.get(SINCE_TAG) or kept(tags) or tags.get("promotion.decision") in _DECISIONS)


def _journals(place: Workspace) -> Iterator[str]:
    """Names of the journals that lie in the workspace: their runs may go on, or have something to send."""
    for path in journal_files(place):
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
