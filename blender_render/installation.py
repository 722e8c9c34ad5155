"""Whether Blender can start on this machine: its system libraries, by name, with the command that brings them.

`python -m blender_render.installation` prints what is missing and exits with status 1; `make setup` runs it.
"""

import ctypes
import sys

from stage.errors import InputError, ViewforgeError

# Shared libraries that the bpy wheel expects of the system, and the Debian package of each.
_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXi.so.6": "libxi6",
    "libXext.so.6": "libxext6",
    "libXfixes.so.3": "libxfixes3",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
}


def missing_libraries() -> list[str]:
    """Names of the shared libraries that cannot be loaded."""
    return [name for name in _LIBRARIES if not _loads(name)]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def check_system_libraries() -> None:
    """Raise when a system library of Blender is missing.

    Raises:
        InputError: naming the libraries and the `apt-get install` line that brings them.
    """
    missing = missing_libraries()
    if missing:
        packages = " ".join(_LIBRARIES[name] for name in missing)
        raise InputError(f"Blender lacks system libraries {', '.join(missing)}", f"apt-get install -y {packages}")


if __name__ == "__main__":
    try:
        check_system_libraries()
    except ViewforgeError as error:
        sys.exit(f"viewforge: {error}")
