"""The stage when things go wrong: answers that are no numbers, kills, caches of something else, assets without a surface."""

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

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_pipelines_support import save_tiny_pipeline
from trained_workspace_support import PARAMETERS, SEED

from evaluation import sampler
from evaluation.evaluate import evaluate
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import FILE, Prediction
from evaluation.protocol import render_farm, select_unseen
from stage.errors import StageFailedError
from stage.files import folder_sha256, write_text
from stage.workspace import Workspace
from systems.pipelines import load_pipeline

SCANNED = ("Chefmate_8_Frypan", "Glazed_Rim_Porcelain_Ramekin")
SCANS = PARAMETERS.model_copy(update={"source": "gso"})


@pytest.fixture(scope="module")
def evaluated(trained: Workspace, shared_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the workspace with two scanned objects, after an evaluation of them."""
    workspace = Workspace(tmp_path_factory.mktemp("scans") / "workspace")
    # Without what other tests have evaluated there.
    shutil.copytree(trained.root, workspace.root, ignore=shutil.ignore_patterns("evaluation"))
    for name in SCANNED:
        target = workspace.root / "inputs" / "gso" / name
        shutil.copytree(shared_assets / "gso" / name, target, copy_function=shutil.copyfile)
    evaluate(SCANS, SEED, workspace)
    return workspace


@pytest.fixture
def scans(evaluated: Workspace, tmp_path: Path) -> Workspace:
    """A copy of that, to be spoilt."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copytree(evaluated.root, workspace.root)
    return workspace


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Gives the titles of the objects that were sampled since it was last asked."""
    titles: list[str] = []
    predict = sampler.predict_group

    def noting(pipeline: Any, group: Any, *further: Any) -> list[Prediction]:
        titles.extend(views.asset.title for views in group)
        return predict(pipeline, group, *further)

    def since() -> list[str]:
        found = list(titles)
        titles.clear()
        return found

    monkeypatch.setattr(sampler, "predict_group", noting)
    return since


def problems(workspace: Workspace) -> list[dict[str, str]]:
    return json.loads((workspace.evaluation / "details.json").read_text())["problems"]


def kept(workspace: Workspace) -> dict[Path, int]:
    """The kept predictions, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in (workspace.scratch / "evaluation").rglob(FILE)}


def metrics_of(workspace: Workspace) -> dict[str, Any]:
    return json.loads((workspace.evaluation / "metrics.json").read_text())


def test_an_answer_that_is_no_number_is_a_row_and_no_figure(scans: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(scans.scratch / "evaluation" / "predictions")
    predict = sampler.predict_group

    def poisoned(pipeline: Any, group: Any, *further: Any) -> list[Prediction]:
        made = predict(pipeline, group, *further)
        if group[0].asset.title == "Chefmate_8_Frypan":
            made[0].pictures[1, 3, 3, 0] = np.nan
        return made

    monkeypatch.setattr(sampler, "predict_group", poisoned)
    metrics = evaluate(SCANS, SEED, scans)
    assert metrics["unseen_objects"] == 1
    assert metrics["failed"] == {"unseen": 1, "training": 0}
    table = pd.read_parquet(scans.evaluation / "per_object.parquet")
    assert set(table.loc[table["subset"] == "unseen", "title"]) == {"Glazed_Rim_Porcelain_Ramekin"}
    row = next(problem for problem in problems(scans) if problem["title"] == "Chefmate_8_Frypan")
    assert row["consequence"] == "quarantined"
    assert row["what"] == "not-finite: 1 of the model's 3 pictures hold numbers that are not finite"
    assert "Chefmate_8_Frypan" in (scans.evaluation / "report.html").read_text()


def test_a_model_of_no_numbers_fails_the_stage_and_leaves_the_last_figures(scans: Workspace) -> None:
    before = metrics_of(scans)
    pipeline = load_pipeline(scans.model)
    torch.nn.init.constant_(next(pipeline.unet.parameters()), torch.nan)
    pipeline.save_pretrained(scans.model)
    with pytest.raises(StageFailedError, match=r"2 of 2 objects failed, over the limit of 50%: .*not-finite: 3 of"):
        evaluate(SCANS, SEED, scans)
    lenient = SCANS.model_copy(update={"max_failure_rate": 1.0})
    with pytest.raises(StageFailedError, match="no unseen object has figures: 3 of the model's 3 pictures"):
        evaluate(lenient, SEED, scans)
    assert metrics_of(scans) == before


def test_nothing_is_sampled_twice_for_the_same_question(scans: Workspace, sampled: Callable[[], list[str]]) -> None:
    before = folder_sha256(scans.evaluation)
    evaluate(SCANS, SEED, scans)
    assert sampled() == []
    assert folder_sha256(scans.evaluation) == before
    # Other figures, galleries or fewer objects are no other question.
    evaluate(SCANS.model_copy(update={"gallery_objects": 1, "max_objects": 1}), SEED, scans)
    assert sampled() == []


def test_another_model_setting_or_picture_is_sampled_anew(scans: Workspace, sampled: Callable[[], list[str]]) -> None:
    metrics = metrics_of(scans)
    evaluate(SCANS.model_copy(update={"guidance_scale": 2.0}), SEED, scans)
    everything = sorted(sampled())
    assert everything[:2] == list(SCANNED)
    assert len(everything) == 3
    shutil.rmtree(scans.model)
    save_tiny_pipeline(scans.model, seed=1)
    other = evaluate(SCANS, SEED, scans)
    assert sorted(sampled()) == everything
    assert other["data_sha256"] == metrics["data_sha256"]
    assert other["unseen"]["copy_input"] == metrics["unseen"]["copy_input"]
    assert other["unseen"]["model"] != metrics["unseen"]["model"]


def test_another_light_camera_or_size_is_other_data(scans: Workspace) -> None:
    def fingerprints(**change: object) -> tuple[str, ...]:
        parameters = SCANS.model_copy(update=change)
        farm = render_farm("unseen", parameters, change.get("resolution", 16), SEED, scans)
        return tuple(farm.fingerprint(asset) for asset in select_unseen(parameters, [], scans).assets)

    plain = fingerprints()
    assert fingerprints() == plain
    brighter = SCANS.quality.model_copy(update={"ambient": 0.9})
    others = [
        fingerprints(quality=brighter),
        fingerprints(protocol="viewfusion_free"),
        fingerprints(views=5),
        fingerprints(resolution=24),
    ]
    assert all(set(other).isdisjoint(plain) for other in others)


def test_rendered_pictures_that_somebody_touched_are_rendered_again(
    scans: Workspace, sampled: Callable[[], list[str]]
) -> None:
    metrics, before = metrics_of(scans), folder_sha256(scans.evaluation)
    pictures = sorted((scans.scratch / "evaluation" / "unseen").glob("*/*/000.png"))
    assert len(pictures) == 2
    original = pictures[0].read_bytes()
    pictures[0].write_bytes(pictures[1].read_bytes())
    assert evaluate(SCANS, SEED, scans) == metrics
    assert pictures[0].read_bytes() == original
    assert folder_sha256(scans.evaluation) == before
    # The same picture needs no new answer.
    assert sampled() == []


def test_a_changed_asset_is_rendered_and_sampled_again(scans: Workspace, sampled: Callable[[], list[str]]) -> None:
    metrics = metrics_of(scans)
    mesh = scans.root / "inputs" / "gso" / "Chefmate_8_Frypan" / "meshes" / "model.obj"
    lines = mesh.read_text().splitlines()
    faces = [number for number, line in enumerate(lines) if line.startswith("f ")]
    mesh.write_text("\n".join(lines[: faces[len(faces) // 2]]) + "\n")
    again = evaluate(SCANS, SEED, scans)
    assert sampled() == ["Chefmate_8_Frypan"]
    assert again["data_sha256"] != metrics["data_sha256"]


def test_a_mesh_without_faces_is_a_row(scans: Workspace) -> None:
    write_text(scans.root / "inputs" / "gso" / "Cloud" / "meshes" / "model.obj", "v 0 0 0\nv 1 0 0\nv 0 1 1\n")
    metrics = evaluate(SCANS, SEED, scans)
    assert metrics["unseen_objects"] == 2
    assert metrics["failed"]["unseen"] == 1
    row = next(problem for problem in problems(scans) if problem["title"] == "Cloud")
    assert row["consequence"] == "quarantined"
    assert row["what"].startswith("empty: ")


def test_a_listed_object_is_evaluated_alone_and_has_its_publishers_category(scans: Workspace) -> None:
    listed = SCANS.model_copy(update={"objects": ("Chefmate_8_Frypan",)})
    assert evaluate(listed, SEED, scans)["unseen_objects"] == 1
    table = pd.read_parquet(scans.evaluation / "per_object.parquet")
    assert set(table.loc[table["subset"] == "unseen", "category"]) == {"Bottles and Cans and Cups"}


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_ends_with_the_same_bytes(scans: Workspace, tmp_path: Path) -> None:
    # So many steps that there is time to kill between two objects.
    asked = SCANS.model_copy(update={"inference_steps": 60})
    shutil.rmtree(scans.scratch / "evaluation" / "predictions")
    shutil.rmtree(scans.evaluation)
    write_text(scans.parameters, yaml.safe_dump({"seed": SEED, "evaluate": asked.model_dump(mode="json")}))
    undisturbed = Workspace(tmp_path / "undisturbed")
    shutil.copytree(scans.root, undisturbed.root)
    evaluate(asked, SEED, undisturbed)

    process = start(scans)
    deadline = time.monotonic() + 120
    while not kept(scans) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = kept(scans)
    assert 1 <= len(finished) < 3
    assert not (scans.evaluation / "metrics.json").exists()

    process = start(scans)
    assert process.wait(timeout=120) == 0
    assert {path: kept(scans)[path] for path in finished} == finished
    assert len(kept(scans)) == 3
    assert folder_sha256(scans.evaluation) == folder_sha256(undisturbed.evaluation)


def start(workspace: Workspace) -> subprocess.Popen:
    command = [sys.executable, "-m", "cli.main", "evaluate", "--workspace", str(workspace.root)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_parameters_survive_the_file_that_the_command_reads() -> None:
    asked = SCANS.model_copy(update={"objects": ("a", "b"), "resolution": 16})
    written = yaml.safe_load(yaml.safe_dump(asked.model_dump(mode="json")))
    assert EvaluateParameters.model_validate(written) == asked
