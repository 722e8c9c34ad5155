"""Installs what the page for the browser, SPZ and SOG need: the pinned npm packages of `viewing/npm/`.

`python -m viewing.installation` does so, and exits with status 1 where npm is missing; `make setup` runs it and goes on. Nothing
that a package brings is executed.
"""

import shutil
import subprocess
import sys

from stage.errors import InputError, ViewforgeError
from viewing.splat_transform import FOLDER, check_installed

_TIMEOUT_SECONDS = 600


def install() -> None:
    """Install the packages of the lock file; nothing happens where they are.

    Raises:
        InputError: when npm is missing or could not get them.
    """
    if _is_installed():
        return
    if shutil.which("npm") is None:
        raise InputError(
            "without npm Gaussians have no page in the browser, no SPZ and no SOG",
            "apt-get install -y nodejs npm, then python -m viewing.installation",
        )
    command = ["npm", "ci", "--ignore-scripts"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        raise InputError(
            f"npm ci in {FOLDER} failed: {'; '.join(errors[:3]) or done.stderr[-200:]}", "try again online"
        )
    check_installed()


def _is_installed() -> bool:
    try:
        check_installed()
    except InputError:
        return False
    return True


if __name__ == "__main__":
    try:
        install()
    except ViewforgeError as error:
        sys.exit(f"viewforge: {error}")
