"""Mistakes at the command line: one clear line each, never a traceback, never a half-written output."""

import socket
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def workspace(tmp_path, viewforge, monkeypatch):
    """A folder with the default parameters and nothing else."""
    source = Path(__file__).resolve().parents[2] / "params.yaml"
    (tmp_path / "params.yaml").write_text(source.read_text())
    return tmp_path


def with_parameters(workspace, section, **values):
    path = workspace / "params.yaml"
    parameters = yaml.safe_load(path.read_text())
    parameters[section] = {**parameters[section], **values}
    path.write_text(yaml.safe_dump(parameters))


def assert_one_line(result, *words):
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("viewforge: ")
    for word in words:
        assert word in lines[0]


def test_help_names_every_stage(viewforge):
    text = viewforge("--help").stdout
    for command in (
        "catalog",
        "render",
        "splatter",
        "shard",
        "train",
        "evaluate",
        "run",
        "status",
        "sample",
        "promote",
    ):
        assert command in text


@pytest.mark.parametrize("stage", ["catalog", "render", "splatter", "shard", "train", "evaluate"])
def test_unknown_parameter_names_the_nearest_key(viewforge, workspace, stage):
    with_parameters(workspace, stage, max_byte=1, viewz=2, step=3, source_="x")
    assert_one_line(viewforge(stage, cwd=workspace), f"unknown parameter params.yaml: {stage}.")
    assert not (workspace / "data").exists()


def test_misspelt_key_is_corrected(viewforge, workspace):
    with_parameters(workspace, "render", resolutoin=32)
    assert_one_line(viewforge("render", cwd=workspace), "render.resolutoin", "did you mean resolution?")


def test_misspelt_section_is_refused_before_anything_runs(viewforge, tmp_path):
    result = viewforge("run", "-w", tmp_path / "w", "--set", "rendr.views=2")
    assert_one_line(result, "rendr", "did you mean render?")
    assert not (tmp_path / "w").exists()


def test_value_out_of_range_is_named(viewforge, workspace):
    with_parameters(workspace, "catalog", objects=0)
    assert_one_line(viewforge("catalog", cwd=workspace), "catalog.objects = 0", "greater than or equal to 1")


def test_assignment_without_value(viewforge, tmp_path):
    assert_one_line(viewforge("run", "-w", tmp_path / "w", "--set", "train.steps"), "section.key=value")


def test_missing_parameter_file(viewforge, tmp_path):
    assert_one_line(viewforge("render", cwd=tmp_path), "no parameter file params.yaml")


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("render", "no catalogue"),
        ("splatter", "no rendered objects"),
        ("shard", "no rendered objects"),
        ("train", "no shard index"),
    ],
)
def test_stage_without_its_input(viewforge, workspace, stage, missing):
    assert_one_line(viewforge(stage, cwd=workspace), missing, "run viewforge")


def test_missing_folder_of_assets(viewforge, workspace):
    with_parameters(workspace, "catalog", source="folder", path=str(workspace / "nowhere"))
    assert_one_line(viewforge("catalog", cwd=workspace), "no folder", "nowhere")


def test_empty_folder_of_assets(viewforge, workspace):
    (workspace / "empty").mkdir()
    with_parameters(workspace, "catalog", source="folder", path="empty")
    assert_one_line(viewforge("catalog", cwd=workspace), "holds no asset", "glb")


def test_occupied_port_is_named(viewforge, workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line(viewforge("ui", "--mlflow-port", str(port), cwd=workspace), f"port {port}", "--mlflow-port")


def test_sample_without_a_model(viewforge, workspace):
    result = viewforge("sample", "picture.png", "--azimuth-deg", "30", cwd=workspace)
    assert_one_line(result, "no diffusers pipeline", "run viewforge train")


def test_verbose_shows_the_traceback(viewforge, tmp_path):
    result = viewforge("--verbose", "render", cwd=tmp_path)
    assert "Traceback" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("viewforge: no parameter file")


def test_status_outside_a_workspace(viewforge, tmp_path):
    assert_one_line(viewforge("status", cwd=tmp_path), "no DVC workspace")
