"""The whole pipeline at its smallest: through Prefect and through `dvc repro`, with the same outputs."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from stage.files import file_sha256

pytestmark = pytest.mark.timeout(600)
BROWSER = shutil.which("chromium")


def outputs(workspace: Path) -> dict[str, str]:
    """Relative names and hashes of everything below data/."""
    return {
        str(p.relative_to(workspace)): file_sha256(p) for p in sorted((workspace / "data").rglob("*")) if p.is_file()
    }


def options(values):
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def dvc(workspace, environment, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def through_prefect(tmp_path_factory, viewforge, tiny_parameters):
    """A workspace that `viewforge run` brought up to date, and what that printed."""
    workspace = tmp_path_factory.mktemp("flow") / "workspace"
    result = viewforge("run", "-w", workspace, *options(tiny_parameters), timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return workspace, result


@pytest.fixture(scope="module")
def through_dvc(tmp_path_factory, through_prefect, program_environment):
    """A second workspace with the same parameters, brought up to date by `dvc repro` alone."""
    from flows.workspaces import prepare
    from stage.workspace import Workspace

    workspace = tmp_path_factory.mktemp("dvc") / "workspace"
    prepare(Workspace(workspace), yaml.safe_load((through_prefect[0] / "params.yaml").read_text()))
    dvc(workspace, program_environment, "repro")
    return workspace


def test_run_ends_by_saying_where_everything_is(through_prefect):
    workspace, result = through_prefect
    for label in ("report", "pipeline", "model", "MLflow", "Prefect", "UIs"):
        assert any(line.startswith((label, f"both {label}")) for line in result.stdout.splitlines()), label
    assert str(workspace / "report.html") in result.stdout
    assert "Traceback" not in result.stderr


def test_flow_and_dvc_give_identical_outputs(through_prefect, through_dvc):
    assert outputs(through_prefect[0]) == outputs(through_dvc)


def test_second_repro_does_nothing_and_says_so(through_dvc, program_environment):
    assert "Data and pipelines are up to date." in dvc(through_dvc, program_environment, "repro")


def test_changed_parameter_reruns_only_what_depends_on_it(through_dvc, program_environment):
    path = through_dvc / "params.yaml"
    before = path.read_text()
    parameters = yaml.safe_load(before)
    parameters["evaluate"]["inference_steps"] = 3
    path.write_text(yaml.safe_dump(parameters, sort_keys=False))
    try:
        said = dvc(through_dvc, program_environment, "repro")
        assert "Running stage 'evaluate'" in said
        assert said.count("Running stage") == 1
    finally:
        path.write_text(before)
        assert "cached - skipping run" in dvc(through_dvc, program_environment, "repro")


def test_outputs_come_back_from_the_remote(through_dvc, program_environment):
    before = outputs(through_dvc)
    dvc(through_dvc, program_environment, "push")
    assert (through_dvc / ".dvc-remote").is_dir()
    for folder in ("data", ".dvc/cache"):
        shutil.rmtree(through_dvc / folder)
    dvc(through_dvc, program_environment, "pull")
    assert outputs(through_dvc) == before
    assert "up to date" in dvc(through_dvc, program_environment, "status")


def test_stages_work_from_packs_alone(through_dvc, viewforge):
    """On a machine that pulled the outputs there is no scratch space to read from."""
    before = outputs(through_dvc)
    shutil.rmtree(through_dvc / "scratch")
    result = viewforge("shard", "--compact", cwd=through_dvc)
    assert result.returncode == 0, result.stderr
    assert outputs(through_dvc) == before


def test_model_is_registered_with_its_provenance(through_prefect, monkeypatch):
    from mlflow.tracking import MlflowClient

    workspace, _ = through_prefect
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow' / 'mlflow.db'}")
    decision = json.loads((workspace / "promotion.json").read_text())
    version = client.get_model_version(decision["model"], decision["version"])
    tags = {key.removeprefix("viewforge."): value for key, value in version.tags.items()}
    assert any("git" in key for key in tags)
    assert any("params" in key for key in tags)
    assert decision["alias"] in version.aliases
    assert decision["reasons"]


class _Report(HTMLParser):
    """Collects what a report refers to and says."""

    def __init__(self):
        super().__init__()
        self.sources, self.text = [], []

    def handle_starttag(self, tag, attributes):  # noqa: ARG002 - HTMLParser calls it so
        self.sources += [value for key, value in attributes if key in {"src", "href"} and value]

    def handle_data(self, data):
        self.text.append(data)


def test_report_is_self_contained_and_says_how_the_model_does(through_prefect):
    report = _Report()
    report.feed((through_prefect[0] / "report.html").read_text())
    text = " ".join(report.text)
    assert all(source.startswith(("data:", "#")) for source in report.sources)
    assert sum(source.startswith("data:image") for source in report.sources) >= 3
    for words in ("copy", "mean", "unseen", "training", "not available", "romot"):
        assert words in text


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_report_opens_in_a_browser(through_prefect, tmp_path):
    picture = tmp_path / "report.png"
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
    command = [
        *(BROWSER, "--headless", "--no-sandbox", *quiet, "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1400", f"--screenshot={picture}"),
        (through_prefect[0] / "report.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    from PIL import Image

    with Image.open(picture) as image:
        colours = image.convert("RGB").resize((100, 140)).getcolors(14000)
    assert len(colours) > 50


def test_prefect_keeps_the_run_with_its_artifacts(through_prefect):
    import sqlite3

    with sqlite3.connect(through_prefect[0] / ".prefect" / "prefect.db") as database:
        states = [state for (state,) in database.execute("select state_type from flow_run")]
        data = dict(database.execute("select key, data from artifact where key is not null"))
        progress = [text for (text,) in database.execute("select description from artifact where type = 'progress'")]
    assert states == ["COMPLETED"]
    assert {"pipeline-stages", "contact-sheet", "metrics", "promotion", "render-failures"} <= data.keys()
    assert "data:image/jpeg;base64," in data["render-preview"]
    assert '"rendered' in data["render-status"].replace("\\", "")
    (rendered,) = [text for text in progress if text.startswith("render: 8 of 8 objects")]
    assert re.search(r"objects in \d+ s, [\d.]+/s, [\d,]+ core-s per 1,000", rendered)


def test_a_failed_render_stage_leaves_its_failures_by_class(viewforge, tmp_path):
    import sqlite3

    objects = tmp_path / "objects"
    objects.mkdir()
    for number in range(2):
        (objects / f"error page {number}.glb").write_text(f"<!DOCTYPE html>{number}")
    assignments = {"render.views": 1, "render.resolution": 16, "render.executor.workers": 1}
    source = ("--source", "folder", "--path", objects)
    result = viewforge("run", "-w", tmp_path / "w", *source, *options(assignments), timeout=300)
    assert result.returncode == 1
    assert "2 of 2 objects failed" in result.stderr
    with sqlite3.connect(tmp_path / "w" / ".prefect" / "prefect.db") as database:
        data = dict(database.execute("select key, data from artifact where key is not null"))
    (row,) = json.loads(json.loads(data["render-failures"]))
    assert (row["failure"], row["objects"]) == ("parse", 2)


def test_attribution_names_exactly_what_is_in_the_shards_and_what_the_model_saw(through_prefect, viewforge):
    import pandas as pd

    workspace = through_prefect[0]
    index = pd.read_parquet(workspace / "data" / "shards" / "index.parquet")
    trained = set(index.loc[index["split"] == "train", "key"])
    assert set() < trained < set(index["key"])
    for option, expected in ((("--shards", "shards"), set(index["key"])), (("--model", "model"), trained)):
        result = viewforge("catalog", "attribution", option[0], workspace / "data" / option[1], "-w", workspace)
        assert result.returncode == 0, result.stderr
        assert set(re.findall(r"`([0-9a-f]{32})`", result.stdout)) == expected


def test_sampling_from_the_trained_pipeline(through_prefect, viewforge, tmp_path):
    import numpy as np
    from PIL import Image

    picture = tmp_path / "picture.png"
    cut_out = Image.new("RGBA", (40, 40))
    cut_out.paste((200, 30, 30, 255), (10, 5, 30, 35))
    cut_out.save(picture)
    arguments = ("--azimuth-deg", "90", "--azimuth-deg", "180", "--steps", "2", "-o", tmp_path / "views.png")
    result = viewforge("sample", picture, *arguments, "-w", through_prefect[0])
    assert result.returncode == 0, result.stderr
    assert np.asarray(Image.open(tmp_path / "views.png")).shape == (16, 3 * 16, 3)


def test_status_shows_a_fresh_workspace(through_prefect, viewforge):
    said = viewforge("status", "-w", through_prefect[0]).stdout
    assert said.count("fresh") == 6
    assert "PSNR" in said


def test_pipeline_refuses_to_run_inside_its_own_stage(through_prefect, program_environment):
    command = [sys.executable, "-m", "cli.main", "run", "-w", str(through_prefect[0])]
    environment = {**program_environment, "DVC_STAGE": "train"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1
    assert "inside its own stage train" in result.stderr
