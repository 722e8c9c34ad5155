"""`viewforge catalog` as a process of its own over a source on the network: killed, continued, and its files brought back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from fault_server import FaultServer, slowly, status
from publishers import (
    Model,
    glb,
    models,
    page,
    parameters,
    raw,
    section,
    serve_model,
    serve_objaverse,
    serve_page,
    serve_xl,
    sha256,
    tetrahedron,
    xl_row,
)

from catalog.build import build_catalog
from catalog.folder import uid_of
from catalog.table import read_table, selected_assets, selected_rows
from stage.errors import StageFailedError
from stage.files import folder_sha256
from stage.workspace import Workspace


def workspace_with(root: Path, catalog: dict[str, Any]) -> Workspace:
    root.mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"seed": 3, "catalog": catalog}))
    return Workspace(root)


def from_environment(server: FaultServer) -> dict[str, Any]:
    """Parameters that leave the Hub's address to the environment."""
    values = section(server)
    del values["download"]["hf_endpoint"]
    return values


def started(workspace: Workspace, server: FaultServer, stage: str = "catalog") -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_ENDPOINT": server.url("/"), "HF_TOKEN": "hf_secret"}
    command = [sys.executable, "-m", "cli.main", stage, "--workspace", str(workspace.root)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_run_is_continued_to_the_same_files(server: FaultServer, tmp_path: Path) -> None:
    objects = [Model(number, glb(number, padding=40_000)) for number in range(8)]
    serve_objaverse(server, objects)
    undisturbed = workspace_with(tmp_path / "undisturbed", from_environment(server))
    assert "8 of 8 objects selected" in finished(started(undisturbed, server))

    workspace = workspace_with(tmp_path / "killed", from_environment(server))
    server.seen.clear()
    for model in objects[4:]:
        server.fail(model.path, slowly(2_000, 0.2))
    process = started(workspace, server)
    store = workspace.scratch / "assets"
    wait_until(lambda: sum(len(server.asked(model.path)) for model in objects[4:]) >= 2)
    wait_until(lambda: any(part.stat().st_size for part in store.rglob(".*.part")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace.catalog / "catalog.parquet").exists()
    parts = [path for path in store.rglob(".*.part") if path.stat().st_size]
    whole = [model for model in objects if list(store.rglob(f"{sha256(model.data)}.glb"))]
    server.queues.clear()
    server.seen.clear()

    finished(started(workspace, server))
    assert (workspace.catalog / "catalog.parquet").read_bytes() == (
        undisturbed.catalog / "catalog.parquet"
    ).read_bytes()
    assert folder_sha256(store) == folder_sha256(undisturbed.scratch / "assets")
    assert {seen.path for seen in server.seen} == {model.path for model in objects if model not in whole}
    assert sum("Range" in seen.headers for seen in server.seen) == len(parts) >= 1
    assert {seen.headers["Authorization"] for seen in server.seen} == {"Bearer hf_secret"}


def test_a_machine_with_the_catalogue_alone_brings_the_files_back(server: FaultServer, tmp_path: Path) -> None:
    """As after `dvc pull`: the table is there, the scratch folder is not."""
    serve_objaverse(server, models(5))
    first = workspace_with(tmp_path / "first", from_environment(server))
    finished(started(first, server))
    second = workspace_with(tmp_path / "second", section(server))
    shutil.copytree(first.catalog, second.catalog)
    server.seen.clear()
    assert selected_rows(second) == selected_rows(first)
    assert server.seen == [], "whoever reads no file needs no network"
    assets = selected_assets(second)
    assert [asset.location(second).read_bytes() for asset in assets] == [
        asset.location(first).read_bytes() for asset in assets
    ]
    assert len(server.seen) == 5, "the objects, and no index"
    selected_assets(second)
    assert len(server.seen) == 5


def test_rendering_brings_the_files_back(server: FaultServer, tmp_path: Path) -> None:
    """Real Blender reads what came from the network, a file that lies in parts among them."""
    serve_objaverse(server, models(2))
    data, document = tetrahedron(5)
    document["buffers"][0]["uri"] = "parts/shape.bin"
    text = json.dumps(document).encode()
    serve_xl(server, github=[xl_row(page("shape.gltf"), text, "gltf")])
    server.serve(raw("shape.gltf"), text)
    server.serve(raw("parts/shape.bin"), data)
    workspace = workspace_with(tmp_path / "workspace", section(server, "objaverse_xl"))
    render = {"views": 2, "resolution": 16, "quality": {"samples": 1}, "executor": {"workers": 1}}
    values = {**yaml.safe_load(workspace.parameters.read_text()), "render": render}
    workspace.parameters.write_text(yaml.safe_dump(values))
    finished(started(workspace, server))
    shutil.rmtree(workspace.scratch)
    finished(started(workspace, server, "render"))
    table = pd.read_parquet(workspace.renders / "objects.parquet")
    assert list(table["complete"]) == [True] * 3
    assert list(table["vertices"]) == [4] * 3


def test_a_file_that_is_gone_is_said_and_left_to_its_reader(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_objaverse(server, models(3))
    workspace = workspace_with(tmp_path / "workspace", section(server))
    build_catalog(parameters(server), 0, workspace)
    shutil.rmtree(workspace.scratch)
    server.fail(models(3)[0].path, *[status(410)] * 9)
    assets = selected_assets(workspace)
    assert len(assets) == 3
    assert sum(asset.location(workspace).is_file() for asset in assets) == 2
    assert f"assets: cannot bring back {models(1)[0].uid}" in capsys.readouterr().err


def serve_scanned(server: FaultServer, names: list[str]) -> dict[str, Any]:
    serve_page(server, 1, names, Link="")
    for name in names:
        serve_model(server, name)
    return {"base_url": server.url(""), "per_page": 2}


def test_scanned_objects_are_listed_selected_and_downloaded(server: FaultServer, tmp_path: Path) -> None:
    fuel = serve_scanned(server, ["Mug", "Cup 2", "Jug"])
    workspace = workspace_with(tmp_path / "workspace", section(server, "gso_fuel", fuel=fuel))
    output = finished(started(workspace, server))
    assert "3 of 3 objects selected" in output
    rows = {row.title: row for row in read_table(workspace.catalog / "catalog.parquet")}
    cup = rows["Cup 2"]
    assert (cup.uid, cup.path) == (uid_of("Cup 2"), "scratch/assets/gso/Cup 2/meshes/model.obj")
    assert (cup.licence, cup.author, cup.up_axis, cup.categories) == ("CC-BY-4.0", "Google Research", "Z", ("Cups",))
    assert cup.page == "https://app.gazebosim.org/GoogleResearch/fuel/models/Cup%202"
    assert len(cup.companions_sha256) == 64
    assert all(row.location(workspace).read_bytes().startswith(b"#") for row in rows.values())
    shutil.rmtree(workspace.scratch)
    assert [row.location(workspace).is_file() for row in selected_assets(workspace)] == [True] * 3


def test_of_scanned_objects_only_the_selected_are_downloaded(server: FaultServer, tmp_path: Path) -> None:
    fuel = serve_scanned(server, ["Mug", "Jug", "Pan", "Pot"])
    workspace = Workspace(tmp_path / "workspace")
    build_catalog(parameters(server, "gso_fuel", fuel=fuel, selection={"max_objects": 1}), 0, workspace)
    assert sum(seen.path.endswith(".zip") for seen in server.seen) == 1
    selection = {"max_objects": 1, "categories": ["cups"]}
    rows = build_catalog(parameters(server, "gso_fuel", fuel=fuel, selection=selection), 0, workspace)
    assert sum(row.selected for row in rows) == 1
    assert sum(seen.path.endswith(".zip") for seen in server.seen) == 4, "what they are shows in the archives"


def test_a_bad_model_is_a_row(server: FaultServer, tmp_path: Path) -> None:
    fuel = serve_scanned(server, ["Mug", "Jug"])
    serve_model(server, "Jug", b"<html>")
    workspace = Workspace(tmp_path / "workspace")
    values = {"fuel": fuel, "max_failure_rate": 0.5}
    rows = {row.title: row for row in build_catalog(parameters(server, "gso_fuel", **values), 0, workspace)}
    assert (rows["Mug"].reason, rows["Jug"].reason) == ("", "download: parse")
    with pytest.raises(StageFailedError, match="1 of 2 objects failed"):
        build_catalog(parameters(server, "gso_fuel", fuel=fuel), 0, workspace)
