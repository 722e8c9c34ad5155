"""`viewforge evaluate --predictions`: what a user sees, and the exit status."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from stage.errors import InputError, ParameterError, ViewforgeError


@pytest.fixture
def folders(tmp_path):
    """Two objects of two views; a view of the second is of another size."""
    for side, off in (("truth", 0), ("made by another program", 10)):
        for number in range(2):
            folder = tmp_path / side / f"object {number}"
            folder.mkdir(parents=True)
            for view in range(2):
                edge = 12 if off and number and view else 16
                shade = np.random.default_rng(view).integers(0, 200, (edge, edge, 3), dtype=np.uint8)
                Image.fromarray(shade + np.uint8(off)).save(folder / f"{view}.png")
    return tmp_path


def command(folders, *more):
    named = ("--predictions", "made by another program", "--ground-truth", "truth", "--output", "out")
    absolute = [folders / part if not part.startswith("--") else part for part in named]
    return ("evaluate", *absolute, "--workers", "1", "--metric", "psnr", "--metric", "lpips", *more)


def test_an_object_that_cannot_be_scored_fails_the_command_and_keeps_the_others_figures(folders, viewforge):
    result = viewforge(*command(folders))
    assert result.returncode == 1
    assert "1 of 2 objects lack figures" in result.stderr.splitlines()[-1]
    assert "1.png has 12×12 pixels, its truth 16×16" in result.stderr
    assert "--max-missing" in result.stderr
    assert "evaluate: 1 of 2 objects, 2 views" in result.stdout
    assert "PSNR 28.13 dB (28.13 to 28.13)" in result.stdout
    metrics = json.loads((folders / "out" / "metrics.json").read_text())
    assert metrics["unseen"]["model"]["psnr"] == 28.1308
    assert (folders / "out" / "report.html").is_file()
    allowed = viewforge(*command(folders, "--max-missing", "1", "--compare", folders / "out"))
    assert allowed.returncode == 0, allowed.stderr
    assert "1 results kept" in allowed.stdout
    assert "compare: PSNR +0.000 (+0.000 to +0.000), better on 0, worse on 0 of 1 objects: undecided" in allowed.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--predictions", "."), "scoring folders needs --ground-truth and --output"),
        (("--resize", "box"), "scoring folders needs --predictions and --ground-truth and --output"),
        (
            ("--predictions", "a", "--ground-truth", "b", "--output", "c", "--resize", "cubic"),
            "resize = 'cubic'",
        ),
        (
            ("--predictions", "a", "--ground-truth", "b", "--output", "c", "--metric", "psrn"),
            "no metric 'psrn', did you mean psnr?",
        ),
        (("--predictions", "a", "--ground-truth", "b", "--output", "c", "--metric", "psnr"), "no folder a"),
        (("--predictions", "a", "--ground-truth", "b", "--output", "c", "--compare", "b"), "no evaluation"),
        (("--predictions", ".", "--ground-truth", ".", "--output", "c"), "holds no object's pictures or mesh"),
    ],
)
def test_mistakes_are_named(tmp_path, options, complaint):
    result = CliRunner().invoke(app, options_in(tmp_path, options))
    assert isinstance(result.exception, ViewforgeError)
    assert complaint in str(result.exception).replace(str(tmp_path / "a"), "a")


def options_in(folder, options):
    return ["evaluate", *(str(folder / part) if part in {"a", "b", "c", "."} else part for part in options)]


def test_a_file_of_parameters_names_its_own_mistakes(tmp_path):
    path = tmp_path / "folders.yaml"
    path.write_text("metrics: {names: [psnr]}\ninput_veiw: 0\n")
    options = options_in(tmp_path, ("--predictions", "a", "--ground-truth", "b", "--output", "c"))
    result = CliRunner().invoke(app, [*options, "--parameters", str(path)])
    assert isinstance(result.exception, ParameterError)
    assert "did you mean input_view?" in str(result.exception)


def test_without_folders_it_is_a_models_evaluation(tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "-w", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert "no parameter file" in str(result.exception)
