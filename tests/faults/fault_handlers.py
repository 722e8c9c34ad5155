"""The render worker's function with accidents: what `FAULTS` says of an object happens the first time that it is rendered.

`FAULTS` names a folder; a file there that is called as the object's uid holds the accident, and is removed before it happens.
"""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from blender_render import worker


def render_object(payload: dict[str, Any]) -> dict[str, Any]:
    accident = Path(os.environ["FAULTS"]) / payload["uid"]
    if accident.is_file():
        kind = accident.read_text()
        accident.unlink()
        _ACCIDENTS[kind]()
    return worker.render_object(payload)


def _hang() -> None:
    time.sleep(600)


def _grow() -> None:
    """Allocate without end."""
    hoard = []
    while True:
        hoard.append(b"\1" * (1 << 26))


def _segfault() -> None:
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_ACCIDENTS = {"hang": _hang, "grow": _grow, "segfault": _segfault, "kill": _kill}
