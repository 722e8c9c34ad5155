"""Promotion at the end of the whole pipeline at its smallest, once more with other terms: the champion is evaluated again."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.minutes(2)]


def test_with_other_sampler_settings_the_champion_is_evaluated_again(viewforge, tiny_parameters, tmp_path: Path):
    workspace = tmp_path / "workspace"
    options = [part for key, value in tiny_parameters.items() for part in ("--set", f"{key}={value}")]
    assert viewforge("run", "-w", workspace, *options, timeout=600).returncode == 0
    # Random weights nearly: a person makes the model champion, whatever the gate says.
    assert viewforge("promote", "--version", "1", "--override", "first of all", "-w", workspace).returncode == 0
    parameters = yaml.safe_load((workspace / "params.yaml").read_text())
    parameters["evaluate"]["inference_steps"] += 1
    (workspace / "params.yaml").write_text(yaml.safe_dump(parameters))
    for command in ("evaluate", "promote"):
        done = viewforge(command, "-w", workspace)
        assert done.returncode == 0, done.stderr[-2000:]
    decision = json.loads((workspace / "promotion.json").read_text())
    (check,) = decision["checks"]
    # The same weights on the same terms, by way of the registry.
    assert (decision["version"], check["reference_name"], check["advantage"]) == ("2", "champion", 0.0)
    assert (decision["promoted"], check["value"]) == (True, check["reference"])
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow' / 'mlflow.db'}")
    tags = client.get_model_version(decision["model"], "1").tags
    assert tags["reevaluation.figures"] != tags["evaluation.figures"]
    back = viewforge("rollback", "--reason", "only a drill", "-w", workspace)
    assert "rollback: viewforge-zero123 version 1 is champion" in back.stdout, back.stderr
    assert not list((workspace / "scratch" / "promotion").iterdir())
