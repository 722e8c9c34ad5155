"""How machines find one another: parameters first, then what clusters set."""

from typing import Any

import pytest

from stage.errors import ParameterError
from training.parameters import LaunchParameters
from training.rendezvous import machine_rank, rendezvous


def options(environment: dict[str, str], **changes: Any) -> dict[str, str]:
    found = rendezvous(LaunchParameters(**{"processes": 4, "machines": 2, **changes}), environment)
    return dict(option.removeprefix("--").partition("=")[::2] for option in found)


def test_one_machine_needs_nothing() -> None:
    assert rendezvous(LaunchParameters(), {"MASTER_ADDR": "elsewhere"}) == []
    assert rendezvous(LaunchParameters(processes=2), {"NODE_RANK": "3"}) == ["--main_process_port=0"]
    assert machine_rank(LaunchParameters(), {"NODE_RANK": "3"}) == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NODEID": "1", "MASTER_ADDR": "node-0"},
        {"NODE_RANK": "1", "MASTER_ADDR": "node-0", "MASTER_PORT": "29500"},
        {"PET_NODE_RANK": "1", "PET_MASTER_ADDR": "node-0", "MASTER_ADDR": "other", "PET_MASTER_PORT": "29500"},
        {"NODE_RANK": "", "MACHINE_RANK": "1", "MASTER_ADDR": "node-0"},
    ],
)
def test_what_clusters_set_is_found(environment: dict[str, str]) -> None:
    expected = {"machine_rank": "1", "main_process_ip": "node-0", "main_process_port": "29500"}
    torchs_own = {"rdzv_backend": "c10d", "rdzv_conf": "is_host=0,join_timeout=600"}
    assert options(environment) == expected | torchs_own


def test_machine_0_holds_the_meeting() -> None:
    assert "is_host=1," in options({"NODE_RANK": "0", "MASTER_ADDR": "node-0"})["rdzv_conf"]


def test_parameters_come_first() -> None:
    environment = {"NODE_RANK": "1", "MASTER_ADDR": "node-0", "MASTER_PORT": "1"}
    found = options(environment, machine_rank=0, main_address="10.0.0.1", main_port=4000)
    assert (found["machine_rank"], found["main_process_ip"], found["main_process_port"]) == ("0", "10.0.0.1", "4000")


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        (
            {"NODE_RANK": "1"},
            {},
            "nothing says train.launch.main_address; set it, or one of PET_MASTER_ADDR, MASTER_ADDR",
        ),
        ({"MASTER_ADDR": "node-0"}, {}, "nothing says train.launch.machine_rank; set it, or one of .*SLURM_NODEID"),
        ({"MASTER_ADDR": "node-0", "NODE_RANK": "2"}, {}, "2 is no number of one of 2 machines; count from 0"),
        ({"MASTER_ADDR": "node-0", "NODE_RANK": "-1"}, {}, "-1 is no number of one of 2 machines"),
        ({}, {"processes": 3}, "processes = 3 cannot be split over 2 machines"),
    ],
)
def test_what_is_missing_is_one_line(environment: dict[str, str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        options(environment, **changes)
