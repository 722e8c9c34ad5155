"""Scenes of DTU and Mip-NeRF 360 as rows of a catalogue, so that they go the way of all objects."""

from pathlib import Path
from typing import Literal

from catalog.table import Asset
from evaluation.dtu import MANUAL_SCALES
from evaluation.mip_nerf_360 import PICTURE_FOLDERS, SPLITS
from stage.errors import InputError
from stage.files import file_sha256, folder_sha256, json_sha256

SceneSource = Literal["dtu", "mip_nerf_360"]
SCENES: dict[SceneSource, tuple[str, ...]] = {"dtu": tuple(MANUAL_SCALES), "mip_nerf_360": tuple(SPLITS)}


def scene_assets(source: SceneSource, root: Path) -> list[Asset]:
    """A row for each published scene, those that the folder lacks among them.

    Args:
        source: of the scenes.
        root: folder of the scenes' folders.

    Raises:
        InputError: when it has none.
    """
    names = SCENES[source]
    if not any((root / name).is_dir() for name in names):
        raise InputError(
            f"{root} has none of the scenes {', '.join(names)}", "set evaluate.path to the scenes' folder"
        )
    return [_asset(source, root / name) for name in names]


def _parts(source: SceneSource, folder: Path) -> tuple[str, ...]:
    """What is read of a scene: beside it may lie pictures of any size."""
    if source == "dtu":
        return ("image", "cameras.npz")
    return ("sparse", next((name for name in PICTURE_FOLDERS if (folder / name).is_dir()), PICTURE_FOLDERS[0]))


def _sha256(path: Path) -> str:
    if path.is_dir():
        return folder_sha256(path)
    return file_sha256(path) if path.is_file() else ""


def _asset(source: SceneSource, folder: Path) -> Asset:
    return Asset(
        uid=f"{source}_{folder.name}",
        source=source,
        path=str(folder.absolute()),
        sha256=json_sha256([_sha256(folder / name) for name in _parts(source, folder)]),
        companions_sha256="",
        bytes=0,
        file_type="",
        up_axis="Z",
        licence="unknown",
        author="",
        title=folder.name,
        tags=(),
        split="test",
        selected=True,
        reason="",
        categories=("scene",),
    )
