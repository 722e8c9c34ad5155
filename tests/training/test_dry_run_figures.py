"""Batch, epochs, hours and cost of a training against numbers worked out by hand; what a machine lacks for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from stage.errors import InputError, ParameterError
from stage.workspace import Workspace
from training.data.datasets import open_datasets, plan_of
from training.dry_run.cost import StepTime, cost_of
from training.dry_run.devices import Device, device_here, peak_flops
from training.dry_run.problems import Problem, noting
from training.dry_run.reading import Batch, batch_of, reading_of
from training.dry_run.surroundings import short_of_disk, short_of_gpus, short_of_memory, unreachable_tracking
from training.parameters import TrainParameters
from training.shares import check_split, pairs_at_once


def of(**values: Any) -> TrainParameters:
    return TrainParameters(**values)


def test_the_published_run_is_a_week_of_eight_gpus() -> None:
    parameters = of(steps=105_000, batch_size=1536, launch={"processes": 8, "mixed_precision": "bf16"})
    assert batch_of(parameters) == Batch(effective=1536, at_once=192, accumulate=1, processes=8, machines=1)
    cost = cost_of(parameters, StepTime(5.76, "as given"), int(1e14), 2.0, "NVIDIA A100-SXM4-80GB")
    # 105,000 × 5.76 s = 604,800 s = 7 days = 168 hours.
    assert cost.hours == pytest.approx(168)
    assert cost.gpu_hours == pytest.approx(1344)
    assert cost.price == pytest.approx(2688)
    assert cost.pairs_per_second == pytest.approx(1536 / 5.76)
    # 1e14 operations in 5.76 s, of 312e12 a second.
    assert cost.utilisation == pytest.approx(1e14 / 5.76 / 312e12)


def test_without_a_price_or_a_known_gpu_nothing_is_made_up() -> None:
    cost = cost_of(of(steps=3600), StepTime(2.0, "as given"), int(1e14), None, "CPU")
    assert (cost.hours, cost.price, cost.utilisation) == (2.0, None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("Tesla V100-SXM2-32GB", 125e12),
        ("NVIDIA Something 9", None),
        ("CPU", None),
    ],
)
def test_a_gpu_is_known_by_the_longest_name_that_fits(name: str, expected: float | None) -> None:
    assert peak_flops(name, "bf16") == expected
    assert peak_flops(name, "no") is None


def test_accumulation_and_machines_share_out_a_step() -> None:
    launch = {"processes": 8, "machines": 2, "accumulate": 4}
    assert pairs_at_once(of(batch_size=1536, launch=launch)) == 48
    with pytest.raises(
        ParameterError, match=r"train.batch_size = 1530 cannot be split into 32 equal parts .8 proc.*×.*4 acc"
    ):
        pairs_at_once(of(batch_size=1530, launch=launch))
    with pytest.raises(ParameterError, match="processes = 7 cannot be shared by 2 machines"):
        pairs_at_once(of(batch_size=14, launch={"processes": 7, "machines": 2}))
    with pytest.raises(ParameterError, match="processes = 8, yet 4 were started"):
        check_split(of(batch_size=1536, launch=launch), 4)


def test_epochs_and_passes_follow_from_the_plan(sharded: Workspace, tmp_path: Path) -> None:
    for name in ("boxes", "again"):
        shutil.copytree(sharded.shards, tmp_path / name)
    datasets = [
        {"name": "boxes", "place": "boxes", "probability": 0.25},
        {"name": "again", "place": "again", "probability": 0.75, "draws": 3},
    ]
    parameters = of(steps=12, batch_size=4, data={"datasets": datasets})
    readers = open_datasets(parameters.data, tmp_path)
    found = reading_of(parameters, plan_of(parameters.data, readers, 4, seed=0), readers)
    # 6 objects once and 6 objects three times are 24 pairs, of which 6 and 18 in an epoch of 6 steps.
    assert (found.steps_per_epoch, found.epochs, found.pairs) == (6, 2.0, 48)
    boxes, again = found.datasets
    assert (boxes.objects, boxes.views, boxes.shards) == (6, 24, 1)
    assert (boxes.pairs_per_epoch, boxes.pairs, boxes.passes) == (6, 12, 2.0)
    assert (again.pairs_per_epoch, again.pairs, again.passes) == (18, 36, 2.0)


def test_checkpoints_need_room_for_one_more_than_are_kept(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    parameters = of(checkpoints_kept=2)
    folder = tmp_path / "scratch" / "not there yet"
    assert list(short_of_disk(parameters, folder, free // 10)) == []
    (warning,) = short_of_disk(parameters, folder, free // 5)
    (problem,) = short_of_disk(parameters, folder, free)
    assert (warning.fatal, problem.fatal) == (False, True)
    assert "2 + 1 checkpoints take" in problem.what
    assert str(folder) in problem.what
    assert "train.checkpoints_kept" in problem.remedy


def test_a_gpu_that_is_too_small_names_what_would_fit() -> None:
    assert list(short_of_memory(70 * 10**9, 80 * 10**9, "", here=True)) == []
    assert list(short_of_memory(70 * 10**9, None, "", here=True)) == []
    (problem,) = short_of_memory(75 * 10**9, 80 * 10**9, "set train.launch.accumulate to 2", here=False)
    assert problem.what == "about 75.0 GB on a GPU, it was said to have 80.0 GB, of which 10% are left free"
    assert problem.remedy == "set train.launch.accumulate to 2"


def test_more_processes_than_gpus_are_a_warning_where_there_are_gpus() -> None:
    parameters = of(launch={"processes": 8})
    (problem,) = short_of_gpus(parameters, Device("NVIDIA A100", 4, 80 * 10**9))
    assert problem.what == "8 processes a machine, and this one has 4 × NVIDIA A100"
    assert not problem.fatal
    assert list(short_of_gpus(of(launch={"processes": 8, "machines": 2}), Device("NVIDIA A100", 4, 1))) == []
    assert list(short_of_gpus(parameters, Device("CPU", 0))) == []


def test_a_tracking_server_that_does_not_answer_is_a_warning(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert list(unreachable_tracking()) == []
    server.serve("/health", b"OK")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))
    assert list(unreachable_tracking()) == []
    server.close()
    (warning,) = unreachable_tracking()
    assert warning.what.startswith(f"the tracking server {server.url('')} does not answer: ")
    assert not warning.fatal


def test_errors_become_problems_with_their_remedy(tmp_path: Path) -> None:
    problems: list[Problem] = []
    with noting(problems, "data"):
        raise InputError("it is broken", "mend it")
    with noting(problems, "disk"):
        (tmp_path / "nothing").read_bytes()
    assert problems[0] == Problem("data", "it is broken", "mend it")
    assert problems[1].what == f"{tmp_path / 'nothing'} cannot be read: No such file or directory"


@pytest.mark.gpu
def test_the_gpu_of_this_machine_is_seen_and_nothing_is_allocated_on_it() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    device = device_here()
    assert device.count == torch.cuda.device_count()
    assert device.memory == torch.cuda.get_device_properties(0).total_memory
    assert torch.cuda.memory_reserved() == 0
