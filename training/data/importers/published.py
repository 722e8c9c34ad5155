"""The published sets that can be imported, by the names that the command line knows them under."""

from pathlib import Path
from typing import Literal

from stage.errors import InputError
from training.data import zero_1_to_g_layout as layout
from training.data.importers.candidates import PublishedSet
from training.data.importers.real_estate10k import clips
from training.data.importers.views_release import VIEWS, views_release
from training.data.importers.zero_1_to_g import zero_1_to_g
from training.data.importers.zeronvs import zeronvs_shards

PublishedName = Literal["views_release", "zeronvs", "re10k", "acid", "zero_1_to_g"]


def open_published(
    name: PublishedName, source: Path, views: int | None = None, splatters: Path | None = None
) -> PublishedSet:
    """The candidates of a published set.

    Args:
        name: which set.
        source: its folder or archive.
        views: pictures of a complete object, of `views_release` and `zero_1_to_g` alone; as published if None.
        splatters: folder of splatter images, of `zero_1_to_g` alone.

    Raises:
        InputError: when it is not there, or a folder of splatter images is missing or named for a set that has none.
    """
    if name == "zero_1_to_g":
        if splatters is None:
            raise InputError(
                "zero_1_to_g has its splatter images in a folder of their own", "name it with --splatters"
            )
        return zero_1_to_g(source, splatters, views or layout.VIEWS)
    if splatters is not None:
        raise InputError(f"{name} has no splatter images", "leave --splatters out")
    if name == "views_release":
        return views_release(source, views or VIEWS)
    return zeronvs_shards(source) if name == "zeronvs" else clips(source, name)
