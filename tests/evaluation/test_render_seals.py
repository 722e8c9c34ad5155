"""Seals of rendered objects: what was touched is found, and found once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from evaluation_support import asset

from evaluation.render_seals import discard_altered, seal
from stage.files import write_json, write_text
from stage.packs import object_folder

ASSETS = [asset("a1", "test"), asset("b2", "test")]


@pytest.fixture
def farm(tmp_path: Path) -> Any:
    """A farm's folder with two finished objects."""
    farm = SimpleNamespace(root=tmp_path, fingerprint=lambda asset: f"look of {asset.uid}")
    for each in ASSETS:
        rendered(farm, each.uid, "as the first processor renders it")
    seal(farm, ASSETS)
    return farm


def rendered(farm: Any, uid: str, picture: str) -> None:
    folder = object_folder(farm.root, uid)
    write_text(folder / "000.png", picture)
    write_json(folder / "record.json", {"fingerprint": f"look of {uid}"})


def test_an_object_that_was_touched_is_discarded_and_no_other(farm: Any) -> None:
    assert discard_altered(farm, ASSETS) == []
    write_text(object_folder(farm.root, "b2") / "000.png", "touched")
    assert discard_altered(farm, ASSETS) == ["b2"]
    assert not object_folder(farm.root, "b2").exists()
    assert object_folder(farm.root, "a1").exists()


def test_an_object_that_is_rendered_anew_to_other_bytes_is_sealed_again(farm: Any) -> None:
    write_text(object_folder(farm.root, "b2") / "000.png", "touched")
    discard_altered(farm, ASSETS)
    rendered(farm, "b2", "as the second processor renders it")
    seal(farm, ASSETS)
    # It is what the farm made: no evaluation after this one has to render it.
    assert discard_altered(farm, ASSETS) == []
    write_text(object_folder(farm.root, "b2") / "000.png", "touched")
    assert discard_altered(farm, ASSETS) == ["b2"]
