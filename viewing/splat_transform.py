"""The converter and viewer that npm brings: PlayCanvas's splat-transform, run by Node.js.

It reads and writes SPZ and SOG, and writes pages with the SuperSplat viewer inside. `viewing/npm/` pins it with the hashes of its
packages; `python -m viewing.installation` installs it there. It needs no GPU and no network.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from stage.errors import InputError

FOLDER = Path(__file__).parent / "npm"
LICENCE = FOLDER / "node_modules" / "@playcanvas" / "splat-transform" / "LICENSE"
REMEDY = "apt-get install -y nodejs npm, then python -m viewing.installation"
_PROGRAM = FOLDER / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
_REPEATABLE = FOLDER / "repeatable.mjs"
# npm writes this last, so a broken installation has none.
_INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
_WANTED = FOLDER / "package-lock.json"
_TIMEOUT_SECONDS = 1800
# All readers of version 4 read 3, which is gzip and older.
_SPZ_VERSION = "3"
_REASON = re.compile(r"Error: (.+)")


def check_installed() -> None:
    """Raise when the converter cannot be run.

    Raises:
        InputError: when Node.js is missing, or the installed packages are not those of the lock file.
    """
    if shutil.which("node") is None:
        raise InputError("Node.js is missing", REMEDY)
    if not _INSTALLED.is_file() or _packages(_INSTALLED) != _packages(_WANTED):
        raise InputError("splat-transform is not installed", f"{REMEDY}, or the latter alone")


def transform(source: Path, target: Path, named: Path, settings: Path | None = None) -> None:
    """Convert a file of Gaussians to another format; suffixes name the formats.

    The same source gives the same bytes. `target` is not written atomically.

    Args:
        source: what to read.
        target: what to write.
        named: the user's own file among the two, or behind them, which errors name.
        settings: JSON with the viewer's settings, for a page.

    Raises:
        InputError: when the converter is not installed, or cannot read the source or write the target.
    """
    check_installed()
    options = ["--quiet", "--overwrite", "--gpu", "cpu", "--spz-version", _SPZ_VERSION]
    if settings:
        options += ["--viewer-settings", str(settings)]
    # Absolute paths never start with a dash, which would make an option of them.
    files = [str(source.resolve()), str(target.resolve())]
    command = ["node", "--import", _REPEATABLE.as_uri(), str(_PROGRAM), *options, *files]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{named}: splat-transform took longer than {_TIMEOUT_SECONDS} s") from None
    if done.returncode or not target.is_file():
        raise InputError(f"{named}: splat-transform failed: {_reason(done.stderr)}")


def _packages(lock: Path) -> dict[str, object]:
    """What a lock file installs."""
    packages: dict[str, object] = json.loads(lock.read_text())["packages"]
    return {name: package for name, package in packages.items() if name}


def _reason(stderr: str) -> str:
    """The error's own line: below it are the places in the program."""
    found = _REASON.search(stderr)
    return found[1] if found else (stderr.strip().splitlines() or ["no message"])[-1]
