"""What benchmarks of shards and loaders work on: a workspace of many rendered objects, made of a few.

A few objects are composed and rendered, or found in a folder, and their files stand under as many keys as asked, each a copy of
its own on the disk. So pictures compress and decode as renders do, and no two samples share memory.
"""

import shutil
from pathlib import Path

import pandas as pd

from benchmarks.codecs import rendered
from catalog.table import Asset, write_table
from stage.packs import object_folder
from stage.workspace import Workspace

_ORIGINALS = 6
VIEWS = 12


def rendered_folders(renders: Path | None, scratch: Path, side: int, objects: int = _ORIGINALS) -> list[Path]:
    """Folders of rendered objects.

    Args:
        renders: folder of rendered objects; None renders composed ones.
        scratch: an empty folder for these.
        side: width and height of their pictures, pixels.
        objects: how many of them.
    """
    root = renders or rendered(scratch, objects, VIEWS, side)
    folders = sorted(path.parent for path in root.glob("*/*/transforms.json"))
    assert folders, f"no rendered objects in {root}"
    return folders


def copied_workspace(root: Path, originals: list[Path], objects: int) -> Workspace:
    """A workspace whose objects are copies of the given ones, ready for the `shard` stage.

    Args:
        root: an empty folder.
        originals: folders of rendered objects.
        objects: how many there are to be.
    """
    workspace = Workspace(root)
    uids = [f"{number % 100:02d}{number:06d}" for number in range(objects)]
    for number, uid in enumerate(uids):
        folder = object_folder(workspace.scratch / "renders", uid)
        shutil.copytree(originals[number % len(originals)], folder, ignore=shutil.ignore_patterns("*_*.png"))
    write_table(workspace.catalog / "catalog.parquet", [_asset(uid) for uid in uids])
    workspace.renders.mkdir(parents=True)
    frame = pd.DataFrame({"uid": uids, "complete": True, "fingerprint": uids})
    frame.to_parquet(workspace.renders / "objects.parquet")
    return workspace


def _asset(uid: str) -> Asset:
    return Asset(uid, "folder", f"{uid}.glb", uid, "", 1, "glb", "Y", "CC0-1.0", "", uid, (), "train", True, "")
