"""Which models the page offers: versions of the workspace's MLflow registry, the champion first, and folders of pipelines.

catalogue = ModelCatalogue(workspace)
offered = catalogue.offered()
folder = catalogue.folder(offered[0].key)
"""

import hashlib
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.client import CHALLENGER, CHAMPION, holders, open_registry, version_of
from registry.parameters import RegisterParameters
from registry.version_records import download_pipeline
from stage.errors import InputError, ViewforgeError
from stage.files import remove_leftovers, replacing_folder
from stage.parameters import load_section
from stage.workspace import Workspace

_RANKS = {CHAMPION: 0, CHALLENGER: 1}
# Of one registered model; more would fill the list with what nobody asks for.
_MOST_VERSIONS = 10
_KEPT = 3


@dataclass(frozen=True)
class OfferedModel:
    """A model that a visitor can choose."""

    key: str
    """By which the page names it."""
    label: str
    """What people read."""


class ModelCatalogue:
    """The models of a workspace.

    Args:
        workspace: whose registry, whose own model.
        folders: further pipeline folders; they come first.
    """

    def __init__(self, workspace: Workspace, folders: tuple[Path, ...] = ()) -> None:
        self._workspace, self._folders = workspace, {f"folder:{each}": each for each in folders}
        self._fetching = threading.Lock()

    def offered(self) -> list[OfferedModel]:
        """What there is now; the first is the default.

        Raises:
            InputError: when there is nothing, with what keeps the registry from answering.
        """
        own, reason = self._workspace.model, ""
        named = [OfferedModel(key, f"{folder.name} (folder)") for key, folder in self._folders.items()]
        try:
            registered = self._registered()
        except ViewforgeError as error:
            # A registry that is away does not keep people from trying a folder.
            registered, reason = [], str(error)
        if (own / "model_index.json").is_file():
            registered.append(OfferedModel(_OWN_KEY, "the workspace's own, as last trained"))
        if not (found := [*named, *registered]):
            raise InputError(
                f"there is no model to show: nothing is registered, and {own} holds no pipeline{reason and f'; {reason}'}",
                "viewforge run makes one, or name a folder with --model",
            )
        return found

    def folder(self, key: str | None) -> Path:
        """The pipeline folder of a model; a version is brought here from the registry first, once.

        Raises:
            InputError: when there is no such model, or its files are gone.
        """
        if key in self._folders:
            return self._folders[key]
        if key == _OWN_KEY:
            return self._workspace.model
        if not key:
            raise InputError("no model is chosen", "choose one of the list")
        kind, _, rest = key.partition(":")
        name, _, number = rest.rpartition("/")
        if kind != "version" or not name:
            raise InputError(f"no model {key!r}", "choose one of the list")
        with self._fetching, open_registry(self._workspace) as client:
            return self._fetched(version_of(client, name, number))

    def _registered(self) -> list[OfferedModel]:
        name = load_section(self._workspace.parameters, "register", RegisterParameters).model_name
        with open_registry(self._workspace) as client:
            return _versions(client, name)

    def _fetched(self, version: ModelVersion) -> Path:
        # A number comes again in another registry; when it was made, and of what, does not.
        made_of = f"{version.name} {version.version} {version.source} {version.creation_timestamp}"
        root = self._workspace.scratch / "demo"
        place = root / hashlib.sha256(made_of.encode()).hexdigest()[:16]
        if not place.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(root)
            with replacing_folder(place) as temporary:
                download_pipeline(version, temporary / "download").rename(temporary / "pipeline")
        place.touch()
        _keep_last(root)
        return place / "pipeline"


_OWN_KEY = "workspace"


def _versions(client: MlflowClient, name: str) -> list[OfferedModel]:
    """Those of one registered model: the champion, the challenger, then the newest; none where nothing is registered."""
    try:
        aliases = holders(client, name)
    except InputError:
        return []
    ranked = {number: alias for alias, number in aliases.items() if alias in _RANKS}
    numbers = [str(version.version) for version in client.search_model_versions(f"name = '{name}'")]
    ordered = sorted(numbers, key=lambda number: (_RANKS.get(ranked.get(number, ""), len(_RANKS)), -int(number)))
    return [
        OfferedModel(f"version:{name}/{number}", f"{name} v{number}{_said(ranked.get(number))}")
        for number in ordered[:_MOST_VERSIONS]
    ]


def _said(alias: str | None) -> str:
    return f" ({alias})" if alias else ""


def _keep_last(root: Path) -> None:
    """Remove what has not been asked for lately; a pipeline that is loaded needs its files no more."""
    folders = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    for folder in folders[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
