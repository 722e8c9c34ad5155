"""Outputs and DVC's cache: every flipped bit is found, named with its remedy, and mended by what the remedy says."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from versioned_workspace import dvc, rot, versioned_workspace

from stage.workspace import Workspace
from upkeep import hashing
from upkeep.cache_check import check_cache
from upkeep.findings import Finding
from upkeep.version_check import check_versions


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Up to date, and pushed to its remote."""
    return versioned_workspace(tmp_path / "workspace")


def cache_object(place: Workspace, md5: str) -> Path:
    return place.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


ONE = "5bbf5a52328e7439ae6e719dfe712200"  # md5 of "one\n"


def the_finding(place: Workspace, what: str, **options: bool) -> Finding:
    (found,) = [finding for finding in check_versions(place, **options).findings if finding.what == what]
    return found


def test_a_workspace_as_it_was_made_is_sound(place: Workspace):
    checked = check_versions(place)
    assert checked.findings == ()
    # Three files and the list of a folder in the cache, and three outputs.
    assert checked.checked == 7
    assert checked.bytes >= len("one\ntwo\n") + len('{"loss":1}\n')


def test_a_flipped_bit_that_dvc_does_not_see_is_found_and_mended_from_the_cache(tmp_path: Path):
    place = versioned_workspace(tmp_path / "workspace", "copy")
    pack = place.renders / "pack-00000.tar"
    rot(pack)
    found = the_finding(place, "pack")
    assert found.place == str(pack)
    assert ONE[:12] in found.problem
    assert "viewforge verify --repair" in found.remedy
    assert pack.is_file(), "it was touched without --repair"
    assert "put aside at" in the_finding(place, "pack", repair=True).remedy
    assert not pack.exists()
    assert dvc(place.root, "checkout") == 0
    assert pack.read_text() == "one\n"
    assert check_versions(place).findings == ()


def test_an_output_that_is_a_link_to_a_damaged_object_goes_aside_with_it(place: Workspace):
    pack = place.renders / "pack-00000.tar"
    object_ = cache_object(place, ONE)
    pack.unlink()
    pack.hardlink_to(object_)
    rot(object_)
    assert {finding.what for finding in check_versions(place, repair=True).findings} == {"cache", "pack"}
    assert not pack.exists()
    assert dvc(place.root, "repro") == 0
    assert pack.read_text() == "one\n"
    assert check_versions(place).findings == ()


def test_a_damaged_cache_object_is_put_aside_and_comes_back_from_the_remote(place: Workspace):
    assert dvc(place.root, "push") == 0
    damaged = cache_object(place, ONE)
    rot(damaged)
    bytes_before = damaged.read_bytes()
    found = the_finding(place, "cache", repair=True)
    assert found.place == str(damaged)
    aside = [path for path in (place.root / ".dvc" / "cache" / "damaged").rglob("*") if path.is_file()]
    assert bytes_before in [path.read_bytes() for path in aside], "it was deleted"
    assert dvc(place.root, "pull") == 0
    assert damaged.read_text() == "one\n"
    assert check_versions(place).findings == ()


def test_a_deleted_cache_is_made_again_of_the_outputs(place: Workspace):
    shutil.rmtree(place.root / ".dvc" / "cache")
    lost = [finding for finding in check_versions(place).findings if finding.what == "cache"]
    assert {finding.problem for finding in lost} == {
        "the cache lacks 1 of the 1 objects of data/renders",
        "the cache lacks 1 of the 1 objects of data/training/metrics.json",
    }
    assert dvc(place.root, "commit", "--force") == 0
    assert check_versions(place).findings == ()


def test_a_change_that_dvc_sees_is_left_to_the_user(place: Workspace):
    pack = place.renders / "pack-00000.tar"
    pack.unlink()
    pack.write_text("made by hand\n")
    found = the_finding(place, "pack", repair=True)
    assert "dvc commit takes it as it is" in found.remedy
    assert pack.read_text() == "made by hand\n"


def test_missing_and_strange_files_are_named(place: Workspace):
    (place.renders / "pack-00001.tar").unlink()
    (place.renders / "pack-00009.tar").write_text("whose?")
    shutil.rmtree(place.training_report)
    problems = {Path(finding.place).name: finding.problem for finding in check_versions(place).findings}
    assert problems == {
        "pack-00001.tar": "is missing",
        "pack-00009.tar": "dvc.lock does not know it",
        "metrics.json": "is missing",
    }


def test_what_a_stage_is_writing_is_left_out(place: Workspace):
    (place.renders / "pack-00001.tar").unlink()
    held = {str(place.renders): {"pid": os.getpid(), "cmd": " ".join(psutil.Process().cmdline())}}
    (place.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": held}))
    checked = check_versions(place)
    assert checked.findings == ()
    assert checked.skipped == (f"{place.renders}: process {os.getpid()} is writing it",)


def test_what_a_dead_process_was_writing_is_compared_though_its_number_lives(place: Workspace):
    (place.renders / "pack-00001.tar").unlink()
    held = {str(place.renders): {"pid": os.getpid(), "cmd": "dvc repro render"}}
    (place.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": held}))
    (found,) = check_versions(place).findings
    assert found.problem == "is missing"


def test_without_a_lock_file_it_says_that_nothing_was_compared(tmp_path: Path):
    assert "has no dvc.lock" in check_versions(Workspace(tmp_path)).skipped[0]


def test_a_lock_file_that_cannot_be_read_is_a_finding(place: Workspace):
    (place.root / "dvc.lock").write_text("stages: [")
    (found,) = check_versions(place).findings
    assert "dvc.lock" in found.place


def test_a_cache_object_that_goes_meanwhile_is_no_damage(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    """`dvc gc` or a stage beside a verification that takes hours."""
    files = hashing.hash_files

    def slow(paths: Iterable[Path], *rest: Any) -> Iterator[hashing.Hashed]:
        waiting = list(paths)
        cache_object(place, ONE).unlink(missing_ok=True)
        return files(waiting, *rest)

    monkeypatch.setattr("upkeep.cache_check.hash_files", slow)
    contents, checked = check_cache(place.root / ".dvc" / "cache" / "files" / "md5")
    assert checked.findings == ()
    assert ONE not in contents.sound


def without_links(place: Workspace) -> None:
    """Packs of their own bytes: of links to the cache the bytes have been read there."""
    for number, text in enumerate(("one\n", "two\n")):
        pack = place.renders / f"pack-0000{number}.tar"
        pack.unlink()
        pack.write_text(text)


def test_an_output_that_a_stage_makes_anew_meanwhile_is_left_out(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    files = hashing.hash_files

    def slow(paths: Iterable[Path], algorithm: str, subject: str, total: int) -> Iterator[hashing.Hashed]:
        if subject == "render":
            # DVC deletes an output before its stage runs, and says who writes.
            shutil.rmtree(place.renders)
            held = {str(place.renders): {"pid": os.getpid(), "cmd": " ".join(psutil.Process().cmdline())}}
            (place.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": held}))
        return files(paths, algorithm, subject, total)

    without_links(place)
    monkeypatch.setattr("upkeep.version_check.hash_files", slow)
    checked = check_versions(place)
    assert checked.findings == ()
    assert checked.skipped == (f"{place.renders}: process {os.getpid()} is writing it",)


def test_an_output_that_was_made_anew_meanwhile_is_left_out(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    files = hashing.hash_files

    def slow(paths: Iterable[Path], algorithm: str, subject: str, total: int) -> Iterator[hashing.Hashed]:
        if subject == "render":
            pack = place.renders / "pack-00000.tar"
            pack.unlink()
            pack.write_text("another\n")
            assert dvc(place.root, "commit", "--force", "render") == 0
        return files(paths, algorithm, subject, total)

    without_links(place)
    monkeypatch.setattr("upkeep.version_check.hash_files", slow)
    checked = check_versions(place)
    assert checked.findings == ()
    assert checked.skipped == (f"{place.renders}: it was made anew meanwhile",)


def test_inputs_that_dvc_follows_are_compared_too(place: Workspace):
    added = place.root / "inputs" / "one.glb"
    added.parent.mkdir()
    added.write_text("three\n")
    assert dvc(place.root, "add", str(added)) == 0
    assert check_versions(place).checked == 9
    rot(added)
    found = [finding for finding in check_versions(place).findings if finding.place == str(added)]
    assert [finding.what for finding in found] == ["output"]
    assert "DVC would not notice" in found[0].remedy
