"""How the flows treat the stages: pauses, limits, and that none of it is a reason to run a stage again."""

from pathlib import Path

import pytest
import yaml

from flows.flow_parameters import FlowParameters
from flows.parameters import check_parameters
from stage.errors import ParameterError

PROJECT = Path(__file__).resolve().parents[2]


def test_each_pause_is_twice_as_long_as_the_one_before() -> None:
    assert FlowParameters(attempts=4, delay_seconds=3).delays() == [3, 6, 12]
    assert FlowParameters(attempts=1).delays() == []


def test_a_stage_may_be_given_hours_of_its_own() -> None:
    limits = FlowParameters(hours=2, stage_hours={"train": 0.5})
    assert (limits.seconds("train"), limits.seconds("render")) == (1800, 7200)


def test_hours_of_a_stage_that_there_is_not_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"flow.stage_hours.trian; did you mean train\?"):
        FlowParameters(stage_hours={"trian": 1}).check_stages(["render", "train"])


@pytest.mark.parametrize(
    "values", [{"attempts": 0}, {"stage_hours": {"train": 0}}, {"delay_jitter": 2}, {"retries": 1}]
)
def test_impossible_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"flow\."):
        check_parameters({"flow": values}, "params.yaml")


def test_no_stage_depends_on_them() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values()
    assert not any(name.partition(".")[0] == "flow" for stage in stages for name in stage["params"])
