"""Every parameter file of the project is valid as a whole, and a mistake anywhere is named."""

from pathlib import Path

import pytest
import yaml

from flows.parameters import check_parameters
from flows.workspaces import chosen_parameters
from stage.errors import ParameterError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("config", [None, *sorted((PROJECT / "configs").glob("*.yaml"))])
def test_parameter_files_are_valid(config):
    check_parameters(chosen_parameters(PROJECT / "params.yaml", config, []), "params.yaml")


def test_sections_are_those_that_stages_depend_on():
    sections = set(yaml.safe_load((PROJECT / "params.yaml").read_text()))
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values()
    assert sections == {key for stage in stages for key in stage["params"]} | {
        "register",
        "retention",
        "reconstruct",
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trian": {}}, "did you mean train?"),
        ({"train": {"optimizer": {"learning_rat": 1}}}, "did you mean learning_rate?"),
        ({"register": {"gate": 3}}, "register.gate"),
        ({"reconstruct": {"neus": {"ray": 3}}}, "did you mean rays?"),
        ({"reconstruct": {"method": "nerf"}}, "reconstruct.method"),
        ({"reconstruct": {"small": "yes"}}, "reconstruct.small"),
        ({"evaluate": {"reconstruct": {"view": "truth"}}}, "did you mean views?"),
        ({"catalog": {"split": {"val": 0.6, "test": 0.5}}}, "nothing to train on"),
    ],
)
def test_mistakes_are_named_with_their_remedy(values, words):
    with pytest.raises(ParameterError, match=words.replace("?", r"\?")):
        check_parameters(values, "params.yaml")
