"""Objaverse 1.0 from a server with its layout: rows, what is asked for, and what becomes of every fault."""

from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, instead, redirect, reset_after, stall_after, status
from publishers import HUB_PATH, Model, glb, models, parameters, serve_index, serve_objaverse, sha256, uid

from catalog.build import build_catalog
from catalog.table import Asset, read_table
from stage.errors import InputError, StageFailedError
from stage.workspace import Workspace


def built(server: FaultServer, workspace: Workspace, **values: Any) -> dict[str, Asset]:
    """Rows by uid."""
    assets = build_catalog(parameters(server, **values), 0, workspace)
    assert read_table(workspace.catalog / "catalog.parquet") == sorted(assets, key=lambda asset: asset.uid)
    return {asset.uid: asset for asset in assets}


def objects_asked(server: FaultServer) -> int:
    return sum(seen.path.endswith(".glb") for seen in server.seen)


def test_a_row_says_what_the_publisher_says(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(3), lvis={"cup": [uid(1)], "armor": [uid(1), uid(2)]})
    row = built(server, workspace)[uid(1)]
    data = glb(1)
    expected = {
        "source": "objaverse",
        "path": f"scratch/assets/{sha256(data)[:2]}/{sha256(data)}.glb",
        "sha256": sha256(data),
        "bytes": len(data),
        "file_type": "glb",
        "licence": "by",
        "author": "A Maker",
        "title": "Object 1",
        "tags": ("small",),
        "categories": ("armor", "cup"),
        "faces": 4,
        "selected": True,
        "url": f"https://huggingface.co{HUB_PATH}/glbs/000-000/{uid(1)}.glb",
        "page": f"https://sketchfab.com/3d-models/{uid(1)}",
    }
    assert {name: getattr(row, name) for name in expected} == expected
    assert row.location(workspace).read_bytes() == data


def test_the_catalogue_does_not_name_the_machine(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(4))
    server.fail(models(4)[0].path, *[status(404)] * 9)
    rows = built(server, workspace, max_failure_rate=1.0)
    for word in (str(workspace.root), "127.0.0.1", str(server.port)):
        assert all(word not in str(row) for row in rows.values())


def test_only_what_is_selected_is_downloaded(server: FaultServer, workspace: Workspace) -> None:
    objects = models(8)
    for model in objects[:4]:
        model.licence = "by-nc"
    serve_objaverse(server, objects)
    rows = built(server, workspace, selection={"licences": ["by"], "max_objects": 2})
    assert sum(row.selected for row in rows.values()) == 2
    assert objects_asked(server) == 2
    assert len(rows) == 8
    assert {rows[uid(n)].reason for n in range(4)} == {"licence CC-BY-NC-4.0 is not among by"}


def test_a_second_run_asks_nobody_and_changes_nothing(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(6))
    built(server, workspace)
    asked, written = len(server.seen), (workspace.catalog / "catalog.parquet").read_bytes()
    built(server, workspace)
    assert len(server.seen) == asked
    assert (workspace.catalog / "catalog.parquet").read_bytes() == written


def test_every_fault_that_passes_is_outlived(server: FaultServer, workspace: Workspace) -> None:
    objects = [Model(number, glb(number, padding=20_000)) for number in range(7)]
    serve_objaverse(server, objects)
    server.fail(objects[0].path, status(429, RateLimit='"resolvers";r=0;t=1'))
    server.fail(objects[1].path, status(429, Retry_After="1"))
    server.fail(objects[2].path, status(503), status(502))
    server.fail(objects[3].path, reset_after(9_000))
    server.fail(objects[4].path, stall_after(9_000))
    server.fail(objects[5].path, instead(b"<html>other bytes</html>"))
    server.fail(f"{HUB_PATH}/metadata/000-001.json.gz", instead(b"\x1f\x8b\x08truncated"))
    rows = built(server, workspace, download={"read_timeout_seconds": 0.5})
    assert all(row.selected for row in rows.values())
    assert all(row.location(workspace).read_bytes() == m.data for m in objects for row in [rows[m.uid]])
    for broken in objects[3:5]:
        assert server.asked(broken.path)[-1].headers["Range"] == "bytes=9000-"
    assert list((workspace.root / "scratch").rglob("*.part*")) == []


def test_a_fault_that_stays_is_a_row(server: FaultServer, workspace: Workspace) -> None:
    objects = models(6)
    serve_objaverse(server, objects)
    server.fail(objects[0].path, *[status(404)] * 9)
    server.fail(objects[1].path, *[instead(b"other bytes")] * 9)
    server.fail(objects[2].path, *[status(503)] * 9)
    rows = built(server, workspace, max_failure_rate=0.5)
    reasons = [rows[uid(number)].reason for number in range(6)]
    assert reasons == ["download: missing", "download: checksum", "download: download", "", "", ""]
    told = (workspace.scratch / "catalog_downloads.jsonl").read_text()
    assert told.count("\n") == 3
    assert "answers 404" in told
    server.queues.clear()
    again = built(server, workspace, max_failure_rate=0.0)
    assert all(row.selected for row in again.values()), "a later run tries again"
    assert (workspace.scratch / "catalog_downloads.jsonl").read_text() == ""


def test_too_many_failures_fail_the_stage_and_keep_what_has_arrived(server: FaultServer, workspace: Workspace) -> None:
    objects = models(4)
    serve_objaverse(server, objects)
    server.fail(objects[0].path, *[status(404)] * 9)
    with pytest.raises(StageFailedError, match=r"catalog: 1 of 4 objects failed, over the limit of 5%.*answers 404"):
        built(server, workspace)
    assert not (workspace.catalog / "catalog.parquet").exists()
    asked = objects_asked(server)
    server.queues.clear()
    built(server, workspace)
    assert objects_asked(server) == asked + 1


def test_the_same_bytes_are_stored_and_used_once(server: FaultServer, workspace: Workspace) -> None:
    twins = [Model(0, glb(7)), Model(1, glb(7)), Model(2, glb(8))]
    serve_objaverse(server, twins)
    rows = built(server, workspace)
    first, second = sorted([uid(0), uid(1)])
    assert [rows[u].reason for u in (first, second, uid(2))] == ["", f"same bytes as {first}", ""]
    assert len(list((workspace.root / "scratch" / "assets").rglob("*.glb"))) == 2


def test_sizes_that_show_only_afterwards_are_limited(server: FaultServer, workspace: Workspace) -> None:
    objects = [
        Model(number, glb(number, padding), said={"archives": None}) for number, padding in enumerate([0, 4000])
    ]
    objects.append(Model(2, glb(2, 4000)))
    serve_objaverse(server, objects)
    rows = built(server, workspace, selection={"max_bytes": 2000})
    assert rows[uid(0)].selected
    assert "bytes, over the limit of 2000" in rows[uid(1)].reason
    assert rows[uid(2)].reason == f"{len(objects[2].data)} bytes, over the limit of 2000"
    assert server.asked(objects[2].path) == [], "the publisher says how large it is"


def test_without_published_sums_files_are_found_again_by_their_url(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(3))
    values = {"objaverse": {"checksums_url": None}}
    rows = built(server, workspace, **values)
    assert rows[uid(2)].sha256 == sha256(glb(2))
    asked = len(server.seen)
    assert built(server, workspace, **values) == rows
    assert len(server.seen) == asked


def test_annotations_of_any_shape_give_rows(server: FaultServer, workspace: Workspace) -> None:
    """What strangers wrote, and what a table cannot hold."""
    said: list[dict[str, Any]] = [
        {
            "user": None,
            "tags": None,
            "license": None,
            "faceCount": None,
            "archives": None,
            "name": None,
            "viewerUrl": None,
        },
        {"name": "two\nlines \ud800", "tags": [{"name": 5}, "x", {}], "user": {"username": "only"}},
        {"faceCount": True, "archives": {"glb": []}, "license": 7, "tags": "none"},
        {"faceCount": -4, "archives": {"glb": {"size": 2**80}}},
    ]
    serve_objaverse(server, [Model(n, glb(n), said=one) for n, one in enumerate(said)])
    serve_index(server, "metadata/000-001.json.gz", {uid(4): "no mapping"})
    rows = built(server, workspace)
    assert all(row.selected for row in rows.values())
    first, second = rows[uid(0)], rows[uid(1)]
    assert (first.title, first.licence, first.author, first.faces) == (uid(0), "unknown", "unknown", None)
    assert first.page == f"https://sketchfab.com/3d-models/{uid(0)}"
    assert (second.title, second.author, second.tags) == ("two lines ?", "only", ())


def test_uids_that_are_none_and_paths_that_lead_elsewhere_are_left_out(
    server: FaultServer, workspace: Workspace
) -> None:
    serve_objaverse(server, models(1))
    paths = {
        uid(0): models(1)[0].path.removeprefix(f"{HUB_PATH}/"),
        "../../evil": "glbs/000-000/evil.glb",
        uid(5): "../../../etc/passwd",
        uid(6): "https://elsewhere.example/x.glb",
        uid(7): None,
    }
    serve_index(server, "object-paths.json.gz", paths)
    rows = built(server, workspace)
    assert sorted(row.reason for row in rows.values()) == ["", "its uid is not letters and digits"]
    assert all(row.uid.isalnum() for row in rows.values())


def test_fewer_folders_are_a_smaller_list(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(12))
    assert sorted(built(server, workspace, objaverse={"max_folders": 1})) == sorted(map(uid, range(4)))
    assert server.asked(f"{HUB_PATH}/metadata/000-001.json.gz") == []


def test_a_list_that_cannot_be_had_is_one_line(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(1))
    del server.files[f"{HUB_PATH}/metadata/000-000.json.gz"]
    with pytest.raises(Exception, match=r"metadata/000-000.json.gz answers 404.*; check the address") as caught:
        built(server, workspace)
    assert "\n" not in str(caught.value)


def test_the_token_goes_to_the_hub_alone(
    server: FaultServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    serve_objaverse(server, models(2))
    # The hub sends its large files from another host.
    server.serve("/elsewhere.glb", glb(0))
    server.fail(models(1)[0].path, redirect(server.url("/elsewhere.glb", host="localhost")))
    built(server, workspace)
    (elsewhere,) = server.asked("/elsewhere.glb")
    assert elsewhere.headers["Authorization"] is None
    others = [seen for seen in server.seen if seen is not elsewhere]
    assert {seen.headers["Authorization"] for seen in others} == {"Bearer hf_secret"}


def test_a_store_elsewhere_is_linked_and_shared(server: FaultServer, workspace: Workspace, tmp_path: Path) -> None:
    serve_objaverse(server, models(2))
    store = tmp_path / "large disk"
    rows = built(server, workspace, store=str(store))
    assert len(list(store.rglob("*.glb"))) == 2
    assert {row.path.partition("/")[0] for row in rows.values()} == {"scratch"}
    assert all(row.location(workspace).is_file() for row in rows.values())
    asked = len(server.seen)
    assert built(server, Workspace(tmp_path / "other"), store=str(store)) == rows
    assert len(server.seen) == asked
    moved = built(server, workspace, store=str(tmp_path / "another disk"))
    assert moved == rows
    assert len(list((tmp_path / "another disk").rglob("*.glb"))) == 2


def test_a_store_that_holds_files_does_not_become_a_link(server: FaultServer, workspace: Workspace) -> None:
    serve_objaverse(server, models(1))
    built(server, workspace)
    with pytest.raises(InputError, match=r"scratch/assets is a folder.*move what it holds there, and remove it"):
        built(server, workspace, store="elsewhere")
