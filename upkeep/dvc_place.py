"""DVC's repository in a workspace, as verification needs it: its outputs, its cache, and what it is writing at the moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo

from stage.workspace import Workspace
from upkeep.dvc_locks import writers
from upkeep.repository import locked_stages, opened


@dataclass(frozen=True)
class Output:
    """An output of a stage, as `dvc.lock` has it, or a file that `dvc add` follows."""

    stage: str
    """Its name, or that of the `.dvc` file."""
    name: str
    """As dvc.yaml calls it."""
    path: Path
    md5: str
    """Of the file, or of the list of a folder's files, and then it ends in `.dir`."""
    cached: bool
    """Whether the cache holds it, too."""


class DvcPlace:
    """What DVC says of one workspace.

    Args:
        repo: opened.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._root = Path(repo.root_dir)
        self.cache = Path(str(repo.cache.local.path))

    def outputs(self) -> list[Output]:
        """All outputs that DVC has a hash of."""
        return [
            Output(
                str(out.stage.addressing),
                str(out.def_path),
                Path(out.fs_path),
                str(out.hash_info.value),
                bool(out.use_cache),
            )
            for out in self._repo.index.outs
            if out.hash_info
        ]

    def believes(self, path: Path) -> str | None:
        """The hash that DVC takes a file to have without reading it, since neither its time nor its size has changed."""
        _, known = self._repo.state.get(str(path), self._repo.fs)
        return str(known.value) if known else None

    def touched(self, output: Output) -> str:
        """Why an output is not to be compared: somebody writes it, or it was made anew since it was read; else empty."""
        if writer := writers(self._root).get(output.path):
            return f"process {writer} is writing it"
        outs = locked_stages(self._root).get(output.stage, {}).get("outs", ())
        now = {out["path"]: out.get("md5") for out in outs}
        return "" if now.get(output.name, output.md5) == output.md5 else "it was made anew meanwhile"


@contextmanager
def opened_dvc(place: Workspace) -> Iterator[DvcPlace]:
    """DVC's repository in a workspace.

    Raises:
        InputError: when there is none, or dvc.yaml or dvc.lock cannot be read.
    """
    with opened(place.root) as repo:
        yield DvcPlace(repo)
