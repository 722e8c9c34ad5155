"""Google Scanned Objects from the servers of Gazebo Fuel, unpacked into the layout that the source `gso` reads.

The models' list comes in pages. Each model is a zip archive with `meshes/model.obj`, its texture and `metadata.pbtxt`, which
becomes the folder `<root>/<name>/`. A folder that is there is complete, so that a run that was cut short continues with the rest.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import Field

from catalog.archive import ArchiveParameters, extract
from catalog.download_parameters import DownloadParameters
from catalog.downloads import Task, each
from catalog.folder import uid_of
from catalog.gso import MESH
from catalog.http_client import Answer, HttpClient, as_json
from catalog.http_errors import DownloadError
from stage.failures import FailureClass, ObjectFailedError, Outcome
from stage.files import replacing_folder
from stage.parameters import Parameters

# A name becomes a folder and a part of a URL.
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:.][^\x00-\x1f\x7f/\\:]{0,199}")
_NEXT = re.compile(r'rel\s*=\s*"?next\b')


class FuelParameters(Parameters):
    """Which models of a Fuel server, and how much they may hold."""

    base_url: str = Field(default="https://fuel.gazebosim.org", pattern=r"^https?://")
    """The Fuel server."""
    owner: str = "GoogleResearch"
    """Whose models."""
    per_page: int = Field(default=100, ge=1, le=100)
    """Models a page of the list."""
    max_models: int | None = Field(default=None, ge=1)
    """Number of models after which the list ends; all when null."""
    archive: ArchiveParameters = ArchiveParameters()
    """Limits on one model's archive."""

    @property
    def models_url(self) -> str:
        """The list's address, below which the models lie."""
        return f"{self.base_url.rstrip('/')}/1.0/{quote(self.owner, safe='')}/models"


def model_names(client: HttpClient, parameters: FuelParameters) -> list[str]:
    """Names of all models, sorted.

    Raises:
        DownloadError: when a page cannot be had or is no list of models.
    """
    names: set[str] = set()
    limit = parameters.max_models
    for page in _pages(client, parameters):
        fresh = set(page) - names
        names |= fresh
        # A server that ignores the page's number would never end.
        if not fresh or (limit and len(names) >= limit):
            break
    return sorted(names)[:limit]


def _pages(client: HttpClient, parameters: FuelParameters) -> Iterator[list[str]]:
    number, more = 1, True
    while more:
        query = urlencode({"page": number, "per_page": parameters.per_page})
        url = f"{parameters.models_url}?{query}"
        try:
            answer = client.get(url)
        except DownloadError as error:
            # Fuel has no page after the last one.
            if error.failure is FailureClass.MISSING and number > 1:
                return
            raise
        yield _names(answer, url)
        number, more = number + 1, _has_next(answer)


def _has_next(answer: Answer) -> bool:
    """What the Link header says; where there is none, only an empty page shows the end, since servers cap a page's length."""
    link = answer.headers.get("Link")
    return link is None or bool(_NEXT.search(link))


def _names(answer: Answer, url: str) -> list[str]:
    models = as_json(answer, url)
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise DownloadError(FailureClass.PARSE, f"{url} answers no list of models", "check base_url and owner")
    return [str(model.get("name", "")) for model in models]


def fetch_models(
    names: Iterable[str],
    root: Path,
    client: HttpClient,
    parameters: FuelParameters,
    downloads: DownloadParameters,
    *,
    stage: str = "download",
) -> Iterator[Outcome]:
    """Bring models into `<root>/<name>/`, those that are there without asking anyone.

    The results hold `name` and `fetched`: whether the network was needed.

    Args:
        names: the models' names; repetitions are passed over.
        root: folder of the source `gso`.
        client: what they are asked with.
        parameters: where they are, and limits on an archive.
        downloads: number of workers and limit on a download's size.
        stage: name for progress and errors.

    Yields:
        One outcome a model, in order of completion, under the uid that the model's row has in the catalogue.

    Raises:
        StageFailedError: when the disk is full.
    """
    wanted = list(dict.fromkeys(names))
    work = partial(_fetch, root, client, parameters, downloads.max_bytes)
    tasks = (Task(uid_of(name), partial(work, name)) for name in wanted)
    return each(tasks, workers=downloads.workers, stage=stage, total=len(wanted))


def _fetch(
    root: Path,
    client: HttpClient,
    parameters: FuelParameters,
    max_bytes: int | None,
    name: str,
    stop: threading.Event,
) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise ObjectFailedError(FailureClass.UNSAFE, f"a model is named {name[:80]!r}")
    folder = root / name
    fetched = not folder.is_dir()
    if fetched:
        archive = root / ".archives" / f"{name}.zip"
        client.download(f"{parameters.models_url}/{quote(name, safe='')}.zip", archive, max_bytes=max_bytes, stop=stop)
        _unpack(archive, folder, parameters.archive)
    return {"name": name, "fetched": fetched}


def _unpack(archive: Path, target: Path, limits: ArchiveParameters) -> None:
    """Turn an archive into the model's folder. The archive goes, also a bad one, which must not be found again."""
    try:
        with replacing_folder(target) as folder:
            extract(archive, folder, limits)
            _check_layout(archive, folder)
    except ObjectFailedError:
        archive.unlink(missing_ok=True)
        raise
    archive.unlink(missing_ok=True)


def _check_layout(archive: Path, folder: Path) -> None:
    if not (folder / MESH).is_file():
        raise ObjectFailedError(FailureClass.EMPTY, f"{archive.name} holds no {MESH}")
