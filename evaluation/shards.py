"""What evaluation needs of the training shards: who was trained on, at which resolution, and what it looked like.

The rooms `training` and `evaluation` do not import one another; what joins them is the format on disk: WebDataset tars
with members `<uid>.000.png` … (`blender_render.view_codecs`), and `index.parquet` with shard, key, offset, size, sha256 and split
of each living object; the tars are beside it, or where `stage.location` says.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from blender_render.rendered_object import on_white
from blender_render.view_codecs import decode_view, view_numbers
from stage.errors import InputError
from stage.foreign_files import members
from stage.location import read_location

_REMEDY = "restore it with dvc pull, or run viewforge shard --compact"


class TrainingShards:
    """The objects of the split `train` of a shard set, in order of uid.

    Args:
        folder: the shard set.

    Raises:
        InputError: when the set is missing or damaged, or holds no training object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._root = folder, read_location(folder) or str(folder.absolute())
        rows = _index(folder / "index.parquet")
        self._rows = {row["key"]: row for row in rows if row["split"] == "train"}
        if not self._rows:
            raise InputError(f"{folder} holds no training object", "lower catalog.split.val and test, or add objects")

    @property
    def uids(self) -> list[str]:
        """Training objects in order of uid."""
        return sorted(self._rows)

    def resolution(self) -> int:
        """Width and height of a training picture, pixels.

        Raises:
            InputError: when the pictures are not square.
        """
        height, width = self.rgba(self.uids[0]).shape[1:3]
        if height != width:
            raise InputError(f"the pictures in {self.folder} are {width}×{height}", "render square views")
        return width

    def rgba(self, uid: str) -> UInt8[np.ndarray, "v h w 4"]:
        """All views of a training object, sRGB with straight alpha.

        Raises:
            InputError: when its bytes are not what the index says.
        """
        with tarfile.open(fileobj=io.BytesIO(self._bytes(self._rows[uid])), mode="r:") as archive:
            files = {m.name.partition(".")[2]: _content(archive, m) for m in members(archive, files_alone=True)}
        return np.stack([decode_view(files, view) for view in view_numbers(files)])

    def views(self, uid: str) -> Float[np.ndarray, "v h w 3"]:
        """All views of a training object, RGB on white in [0, 1]."""
        return on_white(self.rgba(uid))

    def all_views(self) -> Iterator[Float[np.ndarray, "v h w 3"]]:
        """The views of each training object in turn."""
        for uid in self.uids:
            yield self.views(uid)

    def _bytes(self, row: dict[str, Any]) -> bytes:
        path = f"{self._root}/{row['shard']}"
        try:
            files, place = fsspec.url_to_fs(path)
            data = files.cat_file(place, start=row["offset"], end=row["offset"] + row["size"])
        except FileNotFoundError:
            raise InputError(f"the shard {path} is missing", _REMEDY) from None
        except Exception as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path} cannot be read: {cause}", "check network and credentials, and run again"
            ) from error
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise InputError(f"{path} is damaged at byte {row['offset']}, object {row['key']}", _REMEDY)
        return data


def _index(path: Path) -> list[dict[str, Any]]:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"no shard index {path}", "run viewforge shard first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", "run viewforge shard again") from None
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None  # noqa: S101 - samples hold files alone
    return stream.read()
