"""The entries of a journal as MLflow takes them: one run, found again by a tag that holds the journal's own name.

Everything may be sent twice and is there once: equal figures, tags and inputs MLflow keeps once, a picture is looked for first.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Dataset, InputTag, Metric, Param, RunTag
from mlflow.entities import DatasetInput as MlflowInput
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from PIL import Image

from stage.secrets import redacted
from stage.workspace import Workspace
from training.tracking.journal import Entry, program_of
from training.tracking.mlflow_place import experiment_id, use_mlflow

JOURNAL_TAG = "viewforge.journal"
_LONGEST_PARAMETER = 500
_LONGEST_DIGEST = 36
_METRICS_AT_ONCE = 1000
_TAGS_AT_ONCE = 100
_FIGURES = ("metrics", "system")
# What the server says of an entry that it will not take, however often it is asked.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS"}


class MlflowDelivery:
    """The server's side of a journal.

    Args:
        workspace: whose MLflow is used.
        folder: of the journal; the files that its entries name lie there.
        start: the journal's first entry.
    """

    def __init__(self, workspace: Workspace, folder: Path, start: Entry) -> None:
        use_mlflow(workspace)
        self._workspace, self._folder, self._start = workspace, folder, start
        self._client = MlflowClient()
        self._run = ""
        self._kinds: dict[str, Callable[[Entry], None]] = {
            "start": lambda _: None,
            "resume": lambda _: self._client.update_run(self._run, status="RUNNING"),
            "parameters": self._parameters,
            "tags": self._tags,
            "inputs": self._inputs,
            "image": self._image,
            "artifact": lambda entry: self._client.log_artifact(self._run, str(self._file(entry["path"]))),
            "end": lambda entry: self._client.set_terminated(self._run, entry["status"], entry["time"]),
        }

    def attach(self) -> bool:
        """Find the journal's run, or make it; whether it is new.

        Raises:
            MlflowException: when the server is away.
        """
        experiment, name = experiment_id(self._workspace), self._start["journal"]
        found = self._client.search_runs([experiment], f"tags.`{JOURNAL_TAG}` = '{name}'", max_results=1)
        if found:
            self._run = str(found[0].info.run_id)
            return False
        run = self._client.create_run(experiment, self._start["time"], {JOURNAL_TAG: name}, self._start["name"])
        self._run = str(run.info.run_id)
        return True

    def deliver(self, entries: list[Entry]) -> None:
        """Send entries in their order; one that the server refuses for good is left out, and said.

        Raises:
            MlflowException: when the server is away.
        """
        for figures, group in groupby(entries, lambda entry: entry["kind"] in _FIGURES):
            if figures:
                self._figures(list(group))
            else:
                for entry in group:
                    self._one(entry, self._kinds[entry["kind"]])

    def _one(self, entry: Entry, send: Callable[[Entry], None]) -> None:
        try:
            send(entry)
        except FileNotFoundError as error:
            self._say(entry, f"{error.filename} is gone")
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            self._say(entry, (str(error).splitlines() or ["no reason given"])[0])

    def _say(self, entry: Entry, reason: str) -> None:
        print(
            f"{program_of(self._start)}: MLflow does not take {entry['kind']}: {redacted(reason)}",
            file=sys.stderr,
            flush=True,
        )

    def _figures(self, entries: list[Entry]) -> None:
        """All at once; one by one where the server refuses that, so that a figure which it cannot take costs no other."""
        metrics = [metric for entry in entries for metric in _metrics(entry)]
        try:
            for part in _parts(metrics, _METRICS_AT_ONCE):
                self._client.log_batch(self._run, metrics=part)
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            for entry in entries:
                for metric in _metrics(entry):
                    self._one(entry, partial(self._figure, metric))

    def _figure(self, metric: Metric, _: Entry) -> None:
        self._client.log_batch(self._run, metrics=[metric])

    def _parameters(self, entry: Entry) -> None:
        """Those that the run does not have: MLflow refuses another value, as of a resumed run with more workers."""
        known = self._client.get_run(self._run).data.params
        new = [Param(k, v[:_LONGEST_PARAMETER]) for k, v in entry["values"].items() if k not in known]
        for part in _parts(new, _TAGS_AT_ONCE):
            self._client.log_batch(self._run, params=part)

    def _tags(self, entry: Entry) -> None:
        for part in _parts([RunTag(k, v) for k, v in entry["values"].items()], _TAGS_AT_ONCE):
            self._client.log_batch(self._run, tags=part)

    def _inputs(self, entry: Entry) -> None:
        self._client.log_inputs(self._run, [_mlflow_input(values) for values in entry["datasets"]])

    def _image(self, entry: Entry) -> None:
        ((name, path),) = entry["values"].items()
        # As `log_image` names them.
        there = f"images/{name.replace('/', '~')}+step+{entry['step']}+timestamp+{entry['time']}+"
        if any(file.path.startswith(there) for file in self._client.list_artifacts(self._run, "images")):
            return
        with Image.open(self._file(path)) as picture:
            self._client.log_image(self._run, picture, key=name, step=entry["step"], timestamp=entry["time"])

    def _file(self, path: str) -> Path:
        file = self._folder / path
        if not file.is_file():
            raise FileNotFoundError(2, "no such file", str(file))
        return file


def _metrics(entry: Entry) -> Iterator[Metric]:
    return (Metric(key, value, entry["time"], entry["step"]) for key, value in entry["values"].items())


def _parts(values: list[Any], size: int) -> Iterable[list[Any]]:
    return (values[first : first + size] for first in range(0, len(values), size))


def _mlflow_input(values: dict[str, Any]) -> MlflowInput:
    """A dataset by its place and the hash of its index, of which MLflow's digest holds the first characters.

    `mlflow.data.get_source` reads the place; MLflow's names of the kinds of place are their addresses' schemes.
    """
    scheme = urlsplit(values["place"]).scheme or "local"
    web = scheme in {"http", "https"}
    source = json.dumps({"url" if web else "uri": values["place"]})
    digest, profile = values["sha256"][:_LONGEST_DIGEST], json.dumps(values["facts"])
    dataset = Dataset(values["name"], digest, "http" if web else scheme, source, profile=profile)
    tags = {MLFLOW_DATASET_CONTEXT: values["context"], "index_sha256": values["sha256"], **values["facts"]}
    return MlflowInput(dataset, [InputTag(key, value) for key, value in tags.items()])
