"""What `pip install viewforge` installs: packages are named one by one in pyproject.toml, and none may be forgotten."""

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_every_package_of_every_room_is_installed():
    named = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {name.partition(".")[0] for name in named}
    found = {
        ".".join(path.parent.relative_to(PROJECT).parts)
        for room in rooms
        for path in (PROJECT / room).rglob("__init__.py")
    }
    assert sorted(named) == sorted(found)
