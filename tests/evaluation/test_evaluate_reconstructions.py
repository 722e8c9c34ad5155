"""The stage with `evaluate.reconstruct`: figures beside all others when it is on, and the bytes of before when it is off."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from trained_workspace_support import PARAMETERS, SEED

from evaluation.evaluate import evaluate
from evaluation.mesh_figures import definitions
from evaluation.parameters import EvaluateParameters, ReconstructionParameters
from stage.files import file_sha256, folder_sha256
from stage.workspace import Workspace

_SMALLEST = {"samples": 8, "levels": 2, "phases": [{"size": 16, "batch": 1, "input_size": 16}]}
RECONSTRUCT = {
    "small": True,
    "loop": {"steps": 2, "preview_every": 1},
    "neus": {"rays": 32, "foreground_rays": 8, "layers": 2, "width": 16},
    "sds": _SMALLEST,
    "anchored_sds": {**_SMALLEST, "anchor_steps": 2},
    "mesh": {"resolution": 16, "threshold": 1e-3},
    "subsets": ["unseen", "training"],
    "figures": {"samples": 500, "points": 500, "grid": 16},
}
# They say what the figures say.
ABOUT_FIGURES = {"metrics.json", "details.json", "per_object.parquet", "report.html"}


def asking(**further: Any) -> EvaluateParameters:
    chosen = ReconstructionParameters.model_validate({**RECONSTRUCT, **further})
    return PARAMETERS.model_copy(update={"reconstruct": chosen})


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def off(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Any]]:
    """A copy of the workspace that is evaluated without reconstructions, and the figures."""
    workspace = Workspace(tmp_path_factory.mktemp("reconstructions") / "workspace")
    shutil.copytree(trained.root, workspace.root, ignore=shutil.ignore_patterns("evaluation"))
    return workspace, evaluate(PARAMETERS, SEED, workspace)


@pytest.mark.slow
def test_reconstructions_stand_beside_all_else_and_off_is_as_before(off: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, without = off
    before, sampled = hashes(workspace.evaluation), folder_sha256(workspace.scratch / "evaluation" / "predictions")

    on = evaluate(asking(), SEED, workspace)
    assert {name: value for name, value in on.items() if name != "reconstruction"} == without
    after = hashes(workspace.evaluation)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == ABOUT_FIGURES
    assert folder_sha256(workspace.scratch / "evaluation" / "predictions") == sampled
    names = tuple(definitions(asking().reconstruct.figures))
    for subset in ("unseen", "training"):
        found = on["reconstruction"][subset]
        # The sphere that a signed distance begins as is a mesh.
        assert (found["objects"], found["failed"]) == (1, 0)
        assert found["measured"] == dict.fromkeys(names, 1)
        assert 0 < found["chamfer_l1"] < 0.5
    table = pd.read_parquet(workspace.evaluation / "per_object.parquet")
    row = table[(table["subset"] == "unseen") & (table["method"] == "model")].iloc[0]
    assert row["reconstruction_iou_points"] == on["reconstruction"]["unseen"]["iou_points"]
    assert "Reconstructions beside the assets" in (workspace.evaluation / "report.html").read_text()
    made = workspace.scratch / "evaluation" / "reconstructions"
    assert len([*made.glob("*/*/*/work/*/previews/step-00000002.png")]) == 2
    # A second time nothing is optimised, and all is the same.
    meshes = {path: path.stat().st_mtime_ns for path in made.rglob("mesh.ply")}
    assert evaluate(asking(), SEED, workspace) == on
    assert hashes(workspace.evaluation) == after
    assert {path: path.stat().st_mtime_ns for path in made.rglob("mesh.ply")} == meshes

    assert evaluate(PARAMETERS, SEED, workspace) == without
    assert hashes(workspace.evaluation) == before


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sjc", "sds", "anchored-sds"])
def test_methods_on_a_prior_ask_the_workspaces_model(
    off: tuple[Workspace, dict[str, Any]], tmp_path: Path, method: str
) -> None:
    """With random weights a field may be empty in the end; then the object is named and counted."""
    workspace = Workspace(tmp_path / "copy")
    shutil.copytree(off[0].root, workspace.root, ignore=shutil.ignore_patterns("reconstructions"))
    asked = asking(method=method, subsets=["unseen"], sjc={"resolution": 12, "samples": 12})
    found = evaluate(asked, SEED, workspace)["reconstruction"]
    assert set(found) == {"unseen"}
    details = json.loads((workspace.evaluation / "details.json").read_text())
    assert details["reconstruction"]["method"] == method
    lacking = [problem for problem in details["problems"] if problem["what"].startswith("reconstruction ")]
    assert len(lacking) == found["unseen"]["failed"]
    (record,) = (workspace.scratch / "evaluation" / "reconstructions").rglob("reconstruction.json")
    kept = json.loads(record.read_text())
    assert ("the field is empty" in kept["reason"]) if lacking else kept["faces"] > 0
