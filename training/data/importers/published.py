"""The published sets that can be imported, by the names that the command line knows them under."""

from pathlib import Path
from typing import Literal

from training.data.importers.candidates import PublishedSet
from training.data.importers.real_estate10k import clips
from training.data.importers.views_release import views_release
from training.data.importers.zeronvs import zeronvs_shards

PublishedName = Literal["views_release", "zeronvs", "re10k", "acid"]


def open_published(name: PublishedName, source: Path, views: int) -> PublishedSet:
    """The candidates of a published set.

    Args:
        name: which set.
        source: its folder or archive.
        views: pictures of a complete object, of `views_release` alone.

    Raises:
        InputError: when it is not there.
    """
    if name == "views_release":
        return views_release(source, views)
    return zeronvs_shards(source) if name == "zeronvs" else clips(source, name)
