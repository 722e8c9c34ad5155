"""Python imports this at its start where the folder is on PYTHONPATH: a process told so stands still at one rename.

Everything that is finished is renamed into place, and Python announces each rename to its audit hooks before it happens. With
`STANDSTILL_PIECES` (a pattern of final paths) the process about to rename the second such piece writes the file
`STANDSTILL_NOTE` and waits to be killed, or for the file `STANDSTILL_RELEASE`. Pieces are counted on disk, whichever processes
write them.
"""

import os
import sys


def _standing_still(pieces: str, note: str, release: str):
    """The audit hook. It keeps all it needs: hooks run until the interpreter's very end, when modules are gone."""
    from pathlib import Path
    from time import sleep

    def stand_still(event: str, arguments: tuple) -> None:
        if event != "os.rename" or not Path(arguments[1]).absolute().match(pieces):
            return
        if any(Path("/").glob(pieces.removeprefix("/"))):
            Path(note).write_text("standing")
            for _ in range(6000):
                if release and Path(release).exists():
                    return
                sleep(0.1)

    return stand_still


if "STANDSTILL_PIECES" in os.environ:
    told = (os.environ.get(f"STANDSTILL_{name}", "") for name in ("PIECES", "NOTE", "RELEASE"))
    sys.addaudithook(_standing_still(*told))
