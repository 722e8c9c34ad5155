"""The champion as others load it: through MLflow, by its alias."""

import ast
import json
import re
import runpy
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from serving_support import BAD_REQUESTS, IMAGE, POSES

from registry.parameters import RegisterParameters
from registry.register import register
from registry.served_pipeline import LIMITS, SERVED_MODEL, requirements
from stage.errors import ViewforgeError
from stage.workspace import Workspace
from systems.zero123.pipeline import Zero123Pipeline

REPOSITORY = SERVED_MODEL.parents[1]
URI = f"models:/{RegisterParameters().model_name}@champion"


@pytest.fixture
def served(champion: Workspace) -> Any:
    return mlflow.pyfunc.load_model(URI)


def test_it_gives_the_pipelines_own_samples(served: Any, pipeline_folder: Path):
    sampled = served.predict({"image": IMAGE, "poses": POSES}, params={"seed": 5})
    pipeline = Zero123Pipeline.from_pretrained(pipeline_folder)
    images = torch.from_numpy(IMAGE).movedim(-1, 1) * 2 - 1
    # As params.yaml says the evaluation samples.
    expected = pipeline(
        images,
        torch.from_numpy(POSES),
        num_inference_steps=3,
        guidance_scale=2.0,
        eta=1.0,
        generator=torch.Generator().manual_seed(5),
    ).images
    assert (sampled.shape, sampled.dtype) == ((2, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(sampled, expected.movedim(1, -1).numpy())


def test_parameters_change_the_samples_and_the_seed_repeats_them(served: Any):
    given = {"image": IMAGE, "poses": POSES}
    one, same, other = (served.predict(given, params={"seed": seed}) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    assert np.abs(one - served.predict(given, params={"seed": 1, "num_inference_steps": 1})).max() > 0.01


def test_schedulers_are_chosen_by_request(served: Any):
    given = {"image": IMAGE, "poses": POSES}
    first = served.predict(given)
    other = served.predict(given, params={"scheduler": "dpm", "null_condition": "before_projection"})
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_array_equal(first, served.predict(given))
    with pytest.raises(MlflowException, match="no scheduler plms; take ddim, dpm"):
        served.predict(given, params={"scheduler": "plms"})


def test_the_signature_refuses_other_ranks_and_types(served: Any):
    for image, poses in ((IMAGE[0], POSES), (IMAGE, POSES[0]), (IMAGE.astype(float), POSES)):
        with pytest.raises(MlflowException, match=r"does not match expected (shape|dtype)"):
            served.predict({"image": image, "poses": poses})


def test_what_a_signature_cannot_say_is_said_by_the_model(served: Any):
    for changes, message in BAD_REQUESTS.values():
        given = {"image": IMAGE, "poses": POSES, "params": {}, **changes}
        inputs = {name: np.asarray(given[name], np.float32) for name in ("image", "poses")}
        with pytest.raises(MlflowException, match=re.escape(message)) as caught:
            served.predict(inputs, given["params"])
        assert caught.value.get_http_status_code() == 400
    model = served.unwrap_python_model()
    others: list[tuple[Any, str]] = [
        (IMAGE, "give a dict"),
        ({"image": IMAGE}, "lacks poses"),
        ({"image": IMAGE, "poses": POSES[:0]}, "0 poses: give 1 to 256"),
        ({"image": IMAGE[:, :0], "poses": POSES}, r"image has shape \(1, 0, 16, 3\)"),
    ]
    for given, message in others:
        with pytest.raises(MlflowException, match=message):
            model.predict(None, given)


def test_a_model_of_any_size_wants_whole_latents(served: Any):
    model = served.unwrap_python_model()
    model.pipeline.unet.register_to_config(sample_size=None)
    assert model.predict(None, {"image": IMAGE[:, :12], "poses": POSES}).shape == (2, 12, 16, 3)
    with pytest.raises(MlflowException, match="image is 16×15 pixels: its sides must be multiples of 4"):
        model.predict(None, {"image": IMAGE[:, :15], "poses": POSES})


def test_the_signature_says_what_comes_back(served: Any):
    signature = served.metadata.signature
    assert [spec.name for spec in signature.inputs] == ["image", "poses"]
    assert signature.outputs.inputs[0].shape == (-1, 16, 16, 3)
    assert served.model_config == LIMITS


def test_it_loads_where_viewforge_is_not_installed(workspace: Workspace, tmp_path: Path):
    version = register(RegisterParameters(), workspace)
    script = tmp_path / "client.py"
    script.write_text(
        f"""
import sys
import mlflow, numpy as np
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
model = mlflow.pyfunc.load_model("models:/{version.name}/{version.version}")
import systems
assert "artifacts" in systems.__file__, systems.__file__
given = {{"image": np.ones((1, 16, 16, 3), "float32"), "poses": np.array([[0, 0, 1, 0]], "float32")}}
assert model.predict(given).shape == (1, 16, 16, 3)
"""
    )
    answer = subprocess.run([sys.executable, "-P", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "UserWarning" not in answer.stderr


def imported(source: str) -> set[str]:
    """The modules that one imports as soon as it is imported."""
    nodes = ast.parse(source).body
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def foreign(module: str, seen: set[str]) -> set[str]:
    """The packages of others that a module of ours imports, itself or by others of ours."""
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    if module.partition(".")[0] not in ("systems", "stage", "geometry"):
        return {module.partition(".")[0]}
    if module in seen or not path.is_file():
        return set()
    seen.add(module)
    return set().union(*(foreign(name, seen) for name in imported(path.read_text())))


def test_the_requirements_have_all_that_its_code_imports():
    """An environment made of them alone would otherwise fail when the model is loaded."""
    packages, distributions = foreign("systems.pipelines", set()), packages_distributions()
    assert {"torch", "diffusers", "numpy"} <= packages
    known = {line.partition("==")[0].lower() for line in requirements()}
    needed = {package: {name.lower() for name in distributions.get(package, [])} for package in packages}
    assert [package for package, names in needed.items() if names and not names & known] == []


@pytest.mark.parametrize("system", ["Zero1ToGPipeline", "Zero1ToGGridPipeline"])
def test_a_system_that_makes_gaussians_is_refused_before_it_is_logged(workspace: Workspace, system: str):
    index = workspace.model / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": system}))
    with pytest.raises(
        ViewforgeError, match=f"holds a {system}, and what is served takes pictures and poses"
    ) as caught:
        register(RegisterParameters(), workspace)
    assert "\n" not in str(caught.value)


def test_figures_of_fused_views_are_not_those_of_what_is_served(workspace: Workspace):
    workspace.parameters.write_text("evaluate: {view_fusion: {}}\n")
    with pytest.raises(
        ViewforgeError, match=r"what is served makes each view by itself; set evaluate.view_fusion to null"
    ):
        register(RegisterParameters(), workspace)


def zeronvs(folder: Path, mode: str) -> None:
    """Make the pipeline of a folder one of ZeroNVS; the weights of T are those of `3dof`."""
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "ZeroNvsPipeline", "mode": mode}))


def test_zeronvs_is_served_in_the_mode_that_takes_poses(workspace: Workspace, pipeline_folder: Path):
    zeronvs(workspace.model, "3dof")
    version = register(RegisterParameters(), workspace)
    served = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    assert type(served.unwrap_python_model().pipeline).__name__ == "ZeroNvsPipeline"
    sampled = served.predict({"image": IMAGE, "poses": POSES}, params={"seed": 5})
    # The same weights told of the same vector.
    images = torch.from_numpy(IMAGE).movedim(-1, 1) * 2 - 1
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "eta": 1.0}
    expected = Zero123Pipeline.from_pretrained(pipeline_folder)(
        images, torch.from_numpy(POSES), generator=torch.Generator().manual_seed(5), **options
    ).images
    np.testing.assert_array_equal(sampled, expected.movedim(1, -1).numpy())


def test_a_system_that_takes_cameras_is_refused_before_it_is_logged(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    zeronvs(workspace.model, "7dof_quantile_scale")
    with pytest.raises(ViewforgeError, match="holds a ZeroNvsPipeline, and what is served takes") as caught:
        register(RegisterParameters(), workspace)
    assert "\n" not in str(caught.value)
    # MLflow could be given one by other means; loading it says so too.
    zeronvs(workspace.model, "3dof")
    served_model = runpy.run_path(str(SERVED_MODEL))["ServedViews"]()
    monkeypatch.setattr("systems.zeronvs.pipeline.ZeroNvsPipeline.takes_relative_poses", False)
    with pytest.raises(TypeError, match="takes cameras, and poses are served"):
        served_model.load_context(SimpleNamespace(artifacts={"pipeline": str(workspace.model)}))
