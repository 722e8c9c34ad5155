"""Every kind of bad asset in one batch with good ones: each has its class, the good ones are rendered, nothing else is touched.

What lies outside the assets' folder blocks whoever opens it, and a server on loopback counts who asks.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from bad_assets import bad_assets, good_assets, write_all

from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.render import render
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset, write_table
from stage.executor import ExecutorParameters
from stage.failures import FailureClass
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace

EXECUTOR = ExecutorParameters(workers=2, timeout_seconds=60.0, attempts=1)
PARAMETERS = RenderParameters(
    views=1, resolution=16, quality=QualityParameters(samples=1, device="cpu"), max_failure_rate=1.0, executor=EXECUTOR
)
STRANGE_UIDS = ["../escape", "/tmp/escape", "a/b", "..", "a\\b", "", "a\nb"]


@dataclass(frozen=True)
class Batch:
    """What was rendered, and what was around it before."""

    workspace: Workspace
    assets: list[Asset]
    table: pd.DataFrame
    around: dict[str, tuple[int, int]]
    requests: list[str]
    bad: dict[str, str]
    good: list[str]


class _Counting(BaseHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012 - one server a module

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_error(404)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that notes every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Counting) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def batch(server: str, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """All bad assets, the good ones, and rows with uids that are no names, rendered together."""
    root = tmp_path_factory.mktemp("tree")
    workspace, outside = Workspace(root / "workspace"), root / "workspace" / "outside"
    write_all(workspace.root / "inputs", server, outside)
    outside.mkdir()
    for name in ("secret.png", "secret.mtl"):
        os.mkfifo(outside / name)
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    model = next(asset for asset in assets if asset.title == "good.obj")
    assets += [replace(model, uid=uid, title=f"uid {uid!r}") for uid in STRANGE_UIDS]
    write_table(workspace.catalog / "catalog.parquet", assets)
    before = around(workspace)
    render(PARAMETERS, 0, workspace)
    table = pd.read_parquet(workspace.renders / "objects.parquet").set_index("title")
    bad = {name: failure for name, (_, failure) in bad_assets(server, outside).items()}
    bad |= dict.fromkeys((f"uid {uid!r}" for uid in STRANGE_UIDS), "unsafe")
    return Batch(workspace, assets, table, before, _Counting.requests, bad, sorted(good_assets(server, outside)))


def around(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Size and time of everything about the workspace but what the stage writes: its scratch folder and `data/renders`."""
    ours = (workspace.scratch, workspace.renders)
    paths = [p for p in workspace.root.parent.rglob("*") if not any(p.is_relative_to(place) for place in ours)]
    files = [p for p in paths if not p.is_dir() or p.is_symlink()]
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in files}


def test_every_bad_asset_has_its_class(batch: Batch) -> None:
    failed = batch.table[~batch.table["complete"]]
    assert failed["failure"].to_dict() == batch.bad


def test_every_message_is_one_line_that_says_something(batch: Batch) -> None:
    messages = batch.table[~batch.table["complete"]]["message"]
    assert messages.str.len().gt(10).all()
    assert not messages.str.contains("\n").any()
    assert messages["faces by nodes.glb"] == (
        "faces by nodes.glb has 49,999,980 faces, over the limit of 20,000,000 faces (render.assets.max_faces)"
    )
    assert "the texture huge.png has 30000×30000" in messages["huge texture.obj"]


def test_good_neighbours_are_rendered_as_they_are_alone(batch: Batch, tmp_path: Path) -> None:
    assert sorted(batch.table[batch.table["complete"]].index) == batch.good
    chosen = [asset for asset in batch.assets if asset.title in batch.good]
    assert Farm(tmp_path, PARAMETERS, 0, batch.workspace).render(chosen) == []
    for asset in chosen:
        together = object_folder(batch.workspace.scratch / "renders", asset.uid)
        assert folder_sha256(object_folder(tmp_path, asset.uid)) == folder_sha256(together)


def test_a_texture_from_elsewhere_is_missing(batch: Batch) -> None:
    assert batch.table.loc["texture by address.obj", "warnings"] == "missing texture: secret.png"
    assert batch.table.loc["texture by path.obj", "warnings"] == "missing texture: secret.png"
    assert batch.table.loc["texture by address.ply", "warnings"] == ""


def test_nothing_around_the_output_is_touched_and_nobody_is_asked(batch: Batch) -> None:
    assert around(batch.workspace) == batch.around
    assert batch.requests == []


def test_each_was_tried_once_and_a_second_run_tries_none(batch: Batch) -> None:
    ledger = batch.workspace.scratch / "renders" / "ledger.jsonl"
    before = ledger.read_text()
    render(PARAMETERS, 0, batch.workspace)
    assert ledger.read_text() == before


def test_every_broken_asset_of_others_has_its_class(shared_assets: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assets = folder_assets(CatalogParameters(source="folder", path=str(shared_assets / "bad")), workspace)
    failed = Farm(tmp_path / "renders", PARAMETERS, 0, workspace).render(assets)
    titles = {asset.uid: asset.title for asset in assets}
    classes = {titles[outcome.uid]: outcome.failure for outcome in failed}
    assert len(classes) == len(assets)
    assert classes["truncated.glb"] is FailureClass.PARSE
    assert classes["uri_outside_folder.gltf"] is FailureClass.UNSAFE
    assert classes["empty_nodes.glb"] is FailureClass.EMPTY
