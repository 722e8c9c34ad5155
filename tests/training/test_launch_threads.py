"""How many threads the processes of a training are given."""

import os

import pytest

from training.launch import environment
from training.parameters import TrainParameters

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("said", "threads"), [("", CORES), ("1", 1), ("1,2", 1), (str(8 * CORES), CORES), ("many", CORES), ("0", 1)]
)
def test_the_environment_may_ask_for_fewer(said: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert environment(TrainParameters())["OMP_NUM_THREADS"] == str(threads)


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    parameters = TrainParameters.model_validate({"launch": {"processes": CORES}, "batch_size": CORES})
    assert environment(parameters)["OMP_NUM_THREADS"] == "1"
