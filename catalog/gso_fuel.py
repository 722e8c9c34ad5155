"""Google Scanned Objects from the servers of Gazebo Fuel, unpacked into the layout that the source `gso` reads.

The models' list comes in pages. Each model is a zip archive with `meshes/model.obj`, its texture and `metadata.pbtxt`, which
becomes the folder `<root>/<name>/`. A folder that is there is complete, so that a run that was cut short continues with the rest.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

from catalog.archive import ArchiveParameters, extract
from catalog.folder import uid_of
from catalog.gso import MESH, PAGES
from catalog.http_client import Answer, HttpClient, as_json
from catalog.http_errors import DownloadError
from catalog.listed import listed_asset
from catalog.source_parameters import FuelParameters
from catalog.split import SplitParameters
from catalog.table import Asset
from stage.failures import FailureClass, ObjectFailedError
from stage.files import replacing_folder

# A name becomes a folder and a part of a URL.
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:.][^\x00-\x1f\x7f/\\:]{0,199}")
_NEXT = re.compile(r'rel\s*=\s*"?next\b')


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


def model_url(name: str, parameters: FuelParameters) -> str:
    """Address of a model's archive."""
    return f"{parameters.models_url}/{quote(name, safe='')}.zip"


def fetch_model(
    name: str,
    url: str,
    root: Path,
    client: HttpClient,
    limits: ArchiveParameters,
    max_bytes: int | None,
    stop: threading.Event,
) -> Path:
    """Bring one model into its folder, which is returned, without asking anyone when it is there.

    Args:
        name: the model's name.
        url: its archive.
        root: folder of all models.
        client: what it is asked with.
        limits: limits on what comes out of the archive.
        max_bytes: limit on the archive.
        stop: ends the download.

    Raises:
        ObjectFailedError: UNSAFE when the name or the archive is, PARSE or EMPTY when the archive is damaged or no model.
        DownloadError: when it cannot be had.
    """
    if not _NAME.fullmatch(name):
        raise ObjectFailedError(FailureClass.UNSAFE, f"a model is named {name[:80]!r}")
    folder = root / name
    if not folder.is_dir():
        archive = root / ".archives" / f"{name}.zip"
        client.download(url, archive, max_bytes=max_bytes, stop=stop)
        _unpack(archive, folder, limits)
    return folder


def fuel_assets(parameters: FuelParameters, split: SplitParameters, client: HttpClient) -> Iterator[Asset]:
    """A row for each model of the list, in order of name; hashes and categories show when it is there.

    Raises:
        DownloadError: when the list cannot be had.
    """
    for name in model_names(client, parameters):
        row = listed_asset(
            uid_of(name),
            "gso_fuel",
            split,
            file_type="obj",
            url=model_url(name, parameters),
            page=PAGES + quote(name),
            licence="CC-BY-4.0",
            author="Google Research",
            title=name,
        )
        yield replace(row, up_axis="Z")


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
