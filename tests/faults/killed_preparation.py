"""Prepares scenes again and again from nothing, each time killed before another file operation, and then goes on.

python killed_preparation.py SOURCE PLACE

SOURCE is a folder of CO3D. A run that goes on must end with the files of one that nobody disturbed, and until then every tar
with a final name must be whole. Prints how many runs were killed.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

import webdataset  # noqa: F401 - before the forks, each of which would take seconds for it
from killed_writer import die_before

from stage.files import folder_sha256
from training.data.archive_folders import folders_in_archive
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.scene_making import Making
from training.data.preparation.sources import open_source

PARAMETERS = PreparationParameters.model_validate({"max_bytes": 1, "shares": {"val": 0, "test": 0}})


def prepared(source: Path, root: Path, before: int | None = None) -> int:
    """The status of a process that prepares, killed before one of its operations or never."""
    child = os.fork()
    if child == 0:
        if before is not None:
            die_before(before, str(root))
        prepare(open_source("co3d", source), root, Making(side=8), PARAMETERS)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main() -> None:
    """Kill preparations until one is too quick."""
    source, place = map(Path, sys.argv[1:])
    assert prepared(source, place / "whole") == 0
    expected = folder_sha256(place / "whole")
    for turn in count():
        root = place / str(turn)
        status = prepared(source, root, turn)
        for shard in root.glob("*/*.tar"):
            assert len(list(folders_in_archive(shard))) == 1
        if status == 0:
            print(turn)
            return
        assert status == signal.SIGKILL, status
        assert prepared(source, root) == 0
        assert folder_sha256(root) == expected, f"killed before operation {turn}"


if __name__ == "__main__":
    main()
