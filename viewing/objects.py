"""Gaussians to look at: a file, or the fused ones of an object that the `splatter` stage made."""

import tempfile
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from geometry.gaussians import Gaussians
from stage.errors import InputError
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace
from viewing.conversion import SUFFIXES, read_gaussians

_FUSED = "fused.ply"


def find_gaussians(target: str, workspace: Workspace) -> tuple[str, Gaussians]:
    """The Gaussians that a person named, with a name for what is made of them.

    Args:
        target: a file, or an object's uid.
        workspace: where objects are looked for.

    Raises:
        InputError: when there is no such file or object, naming the nearest objects, or it is damaged or empty.
    """
    path = Path(target)
    if path.suffix.lower() in SUFFIXES or path.is_file():
        name, gaussians = path.stem, read_gaussians(path)
    else:
        name, gaussians = target, _published(target, workspace)
    if not len(gaussians):
        raise InputError(f"{target} holds no Gaussians")
    return name, gaussians


def _published(uid: str, workspace: Workspace) -> Gaussians:
    """The fused Gaussians of an object as its pack holds them; scratch space may have those of other parameters."""
    known = _known_objects(workspace)
    if uid not in known:
        raise InputError(f"{uid} is no file and no object of {workspace.splatters}", _advice(uid, known))
    with tempfile.TemporaryDirectory(prefix="viewforge-") as folder:
        unpack_missing(workspace.splatters, Path(folder), [uid])
        return read_gaussians(object_folder(Path(folder), uid) / _FUSED)


def _known_objects(workspace: Workspace) -> list[str]:
    """The objects whose Gaussians the stage has published."""
    table = workspace.splatters / "splatters.parquet"
    if not table.is_file():
        return []
    rows = pd.read_parquet(table, columns=["uid", "failure"])
    return sorted(rows.loc[rows["failure"] == "", "uid"])


def _advice(target: str, known: list[str]) -> str:
    if not known:
        return "give a file, or run viewforge splatter first"
    near = [uid for uid in known if uid.startswith(target)][:3] or get_close_matches(target, known, 3, cutoff=0.5)
    return f"of {len(known)} objects the nearest are {', '.join(near or known[:3])}"
