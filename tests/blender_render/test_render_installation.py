"""Blender's system libraries: what is missing is named, with the line that brings it."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from blender_render import installation
from blender_render.installation import check_system_libraries, missing_libraries
from stage.errors import InputError


def test_this_machine_has_them() -> None:
    assert missing_libraries() == []
    check_system_libraries()


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"libX11.so.6": "libx11-6", "libNowhere.so.1": "libnowhere1", "libGone.so.2": "libgone2"}
    monkeypatch.setattr(installation, "_LIBRARIES", libraries)
    with pytest.raises(InputError) as caught:
        check_system_libraries()
    assert str(caught.value) == (
        "Blender lacks system libraries libNowhere.so.1, libGone.so.2; apt-get install -y libnowhere1 libgone2"
    )


def test_the_command_says_nothing_where_all_is_well() -> None:
    command = [sys.executable, "-m", "blender_render.installation"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def linked(library: str | Path) -> dict[str, str]:
    """The shared libraries that the loader brings for one, by name, with their paths."""
    lines = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(\S+) => (\S+)", lines))


@pytest.mark.skipif(shutil.which("ldd") is None or sys.platform != "linux", reason="needs ldd")
def test_every_system_library_that_blender_links_is_checked() -> None:
    """Or comes with one that is: every Python has the C and C++ runtimes."""
    spec = find_spec("bpy")
    assert spec is not None
    assert spec.origin is not None
    wanted = linked(spec.origin)
    runtime = {"libc", "libm", "libdl", "libpthread", "librt", "libutil", "libstdc++", "libgcc_s", "ld-linux-x86-64"}
    known = set(installation._LIBRARIES)
    for name in installation._LIBRARIES:
        known |= set(linked(wanted[name])) if name in wanted else set()
    system = {name for name, path in wanted.items() if "site-packages" not in path}
    assert {name for name in system - known if name.split(".")[0] not in runtime} == set()
