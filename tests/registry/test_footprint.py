"""What a model costs, measured of the tiny pipeline, and a gate that limits it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.footprint import measured
from registry.parameters import RegisterParameters
from registry.policy import Limits
from registry.promote import promote
from stage.workspace import Workspace
from systems.viewfusion.pipeline import ViewFusionPipeline

SAMPLER = {"inference_steps": 2, "guidance_scale": 1.0, "eta": 0.0, "scheduler": "as saved"}


def test_size_is_that_of_the_files_and_time_is_measured_where_it_is_asked(pipeline_folder: Path):
    size = sum(path.stat().st_size for path in pipeline_folder.rglob("*") if path.is_file())
    plain = measured(pipeline_folder, SAMPLER, Limits(size_mib=1))
    assert (plain.size_mib, plain.seconds_per_picture) == (pytest.approx(size / 2**20, abs=1e-3), None)


def test_more_steps_take_longer(pipeline_folder: Path):
    limits = Limits(seconds_per_picture=1)
    few, many = (
        measured(pipeline_folder, SAMPLER | {"inference_steps": n}, limits).seconds_per_picture for n in (1, 40)
    )
    assert few is not None
    assert many is not None
    assert 0 < few < many


def test_fused_views_are_timed_as_they_are_made(pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Each is made from those before it, of which a single view has none."""
    asked: list[int] = []
    sample = ViewFusionPipeline.sample_views

    def watched(self: Any, images: Any, condition: Any, targets: Any, *rest: Any, **options: Any) -> Any:
        asked.append(len(targets))
        return sample(self, images, condition, targets, *rest, **options)

    monkeypatch.setattr(ViewFusionPipeline, "sample_views", watched)
    found = measured(pipeline_folder, SAMPLER | {"view_fusion": {"tau_c": 0.7}}, Limits(seconds_per_picture=1))
    assert asked == [15, 15]
    assert found.seconds_per_picture is not None


@pytest.mark.parametrize(("limit", "promoted"), [(1000.0, True), (0.01, False)])
def test_a_gate_measures_the_version_as_the_registry_has_it(
    workspace: Workspace, train: Callable[..., str], limit: float, promoted: bool
):
    path = workspace.mlflow / "promotion.yaml"
    policy = yaml.safe_load(path.read_text())
    policy["gates"]["embedded"]["limits"] = {"size_mib": limit, "seconds_per_picture": 1000}
    path.write_text(yaml.safe_dump(policy))
    train("first")
    decision = promote(RegisterParameters(), workspace)
    size, seconds = decision.checks[-2:]
    assert (decision.promoted, size.passed, size.reference) == (promoted, promoted, limit)
    assert (seconds.metric, seconds.passed) == ("seconds_per_picture", True)
    assert seconds.value is not None
