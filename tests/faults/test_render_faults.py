"""The render stage under accidents: whatever happens, another run gives the files of an undisturbed one, byte for byte."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from blender_render import farm
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.render import render
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import read_table, write_table
from stage.errors import StageFailedError
from stage.executor import ExecutorParameters
from stage.files import folder_sha256, write_text
from stage.packs import object_folder
from stage.workspace import Workspace

HERE = Path(__file__).resolve().parent
OBJECTS = 5
ACCIDENTS = {"hang": "timeout", "grow": "out-of-memory", "segfault": "crash", "kill": "crash"}
_OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 {height}\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
_SUPERVISOR = """
import json, sys
from pathlib import Path
from blender_render import farm
from blender_render.parameters import RenderParameters
from blender_render.render import render
from stage.workspace import Workspace
farm._HANDLER = "fault_handlers:render_object"
render(RenderParameters.model_validate(json.loads(sys.argv[2])), 0, Workspace(Path(sys.argv[1])))
"""


def parameters(attempts: int = 1) -> RenderParameters:
    """Small pictures; a limit of time and memory that only an accident reaches."""
    executor = ExecutorParameters(
        workers=2, attempts=attempts, timeout_seconds=12.0, memory_limit_gib=2.0, retry_delay_seconds=0.0
    )
    quality = QualityParameters(samples=2, device="cpu")
    return RenderParameters(views=4, resolution=32, quality=quality, max_failure_rate=1.0, executor=executor)


def new_workspace(root: Path) -> Workspace:
    """A catalogue of five objects."""
    workspace = Workspace(root)
    for number in range(OBJECTS):
        write_text(root / "inputs" / f"{number}.obj", _OBJ.format(height=1 + number))
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    write_table(workspace.catalog / "catalog.parquet", assets)
    return workspace


def uids(workspace: Workspace) -> list[str]:
    return [asset.uid for asset in read_table(workspace.catalog / "catalog.parquet")]


def final_files(workspace: Workspace) -> dict[str, str]:
    """Hashes of what the stage publishes and of every object's folder, the whole of which counts."""
    folders = {uid: folder_sha256(object_folder(workspace.scratch / "renders", uid)) for uid in uids(workspace)}
    left = [path.name for path in workspace.root.rglob(".*.tmp")]
    return {**folders, "published": folder_sha256(workspace.renders), "left over": str(left)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run to which nothing happens."""
    workspace = new_workspace(tmp_path_factory.mktemp("undisturbed"))
    assert render(parameters(), 0, workspace) == []
    return final_files(workspace)


@pytest.fixture
def accidents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of accidents that workers look into."""
    folder = tmp_path / "accidents"
    folder.mkdir()
    monkeypatch.setenv("FAULTS", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setattr(farm, "_HANDLER", "fault_handlers:render_object")
    return folder


def test_accidents_of_workers_are_rows_and_a_second_run_makes_up_for_them(
    accidents: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """Every object but one has an accident, each of another kind."""
    workspace = new_workspace(tmp_path / "workspace")
    meant = dict(zip(uids(workspace)[1:], ACCIDENTS, strict=True))
    for uid, kind in meant.items():
        (accidents / uid).write_text(kind)
    failed = render(parameters(), 0, workspace)
    assert {outcome.uid: str(outcome.failure) for outcome in failed} == {
        uid: ACCIDENTS[kind] for uid, kind in meant.items()
    }
    assert render(parameters(), 0, workspace) == []
    assert final_files(workspace) == undisturbed


def test_a_second_attempt_in_the_same_run_makes_up_for_an_accident(
    accidents: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    workspace = new_workspace(tmp_path / "workspace")
    (accidents / uids(workspace)[1]).write_text("kill")
    assert render(parameters(attempts=2), 0, workspace) == []
    assert final_files(workspace) == undisturbed
    rows = [json.loads(line) for line in (workspace.scratch / "renders" / "ledger.jsonl").read_text().splitlines()]
    assert {row["uid"]: row["attempt"] for row in rows} == {
        uid: 2 if number == 1 else 1 for number, uid in enumerate(uids(workspace))
    }


def test_a_stage_that_is_killed_leaves_no_worker_and_another_run_finishes_it(
    accidents: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """SIGKILL while an object hangs and the others are done."""
    workspace = new_workspace(tmp_path / "workspace")
    hanging = uids(workspace)[2]
    (accidents / hanging).write_text("hang")
    patient = parameters().model_dump() | {"executor": {"workers": 2, "timeout_seconds": 500.0}}
    stage = subprocess.Popen([sys.executable, "-c", _SUPERVISOR, workspace.root, json.dumps(patient)])
    try:
        _wait_for(workspace, OBJECTS - 1, stage)
        family = psutil.Process(stage.pid).children(recursive=True)
    finally:
        os.kill(stage.pid, signal.SIGKILL)
        stage.wait()
    assert family
    assert psutil.wait_procs(family, 20)[1] == []
    done = {path: path.stat().st_mtime_ns for path in (workspace.scratch / "renders").rglob("*.png")}
    assert render(parameters(), 0, workspace) == []
    assert final_files(workspace) == undisturbed
    assert all(path.stat().st_mtime_ns == time for path, time in done.items()), "what was finished is kept"


def _wait_for(workspace: Workspace, count: int, stage: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while len(list((workspace.scratch / "renders").glob("*/[!.]*/transforms.json"))) < count:
        assert stage.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_full_disk_ends_the_stage_and_another_run_finishes_it(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """A file system of 200 kB holds one object or two and no more."""
    workspace = new_workspace(tmp_path / "workspace")
    workspace.scratch.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", workspace.scratch]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(StageFailedError, match=r"no space left on the disk.*finished objects are kept"):
            render(parameters(), 0, workspace)
        subprocess.run(["mount", "-o", "remount,size=30m", workspace.scratch], check=True)
        assert render(parameters(), 0, workspace) == []
        assert final_files(workspace) == undisturbed
    finally:
        subprocess.run(["umount", "--lazy", workspace.scratch], check=True)
