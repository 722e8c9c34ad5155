"""Why one of two real processes ended, through torch's agent: what no CPU can do is said as CUDA and NCCL say it."""

import os
from pathlib import Path
from typing import Any

import pytest

from stage.errors import StageFailedError, StageKilledError
from stage.workspace import Workspace
from training.launch import launch
from training.launching.attempts import Attempts
from training.launching.outcome import launch_room, outcome_file, read_outcome
from training.parameters import TrainParameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# Rank 0 waits for rank 1 in an exchange, in that of NCCL so that only SIGKILL ends it.
TRAINER = """
import os, signal, sys, time, torch
if os.environ["RANK"] == "0":
    signal.signal(signal.SIGTERM, signal.SIG_IGN if {hangs} else signal.SIG_DFL)
    time.sleep(600)
{end}
"""
MEMORY = 'raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has 79.10 GiB")'
WATCHDOG = """
text = "[E321 ProcessGroupNCCL.cpp:607] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5)"
print("[rank1]:" + text, file=sys.stderr, flush=True)
os.abort()
"""
NAN = """
print("viewforge: 6 of 7 steps were left out, 6 in a row; lower train.optimizer.learning_rate", file=sys.stderr)
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("end", "kind", "says"),
    [
        (
            MEMORY,
            "gpu_memory",
            ["rank 1: ", "CUDA out of memory", "train.launch.accumulate to 2: 2 instead of 4 pairs"],
        ),
        (WATCHDOG, "exchange_timeout", ["rank 1: ", "Watchdog caught collective operation timeout", "rank 0 did not"]),
        (NAN, "not_finite", ["6 of 7 steps were left out", "lower train.optimizer.learning_rate"]),
    ],
)
def test_the_reason_of_the_process_that_failed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, kind: str, says: list[str]
) -> None:
    may_pass = kind == "exchange_timeout"
    (tmp_path / "trainer.py").write_text(TRAINER.format(end=end, hangs=may_pass))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    section: dict[str, Any] = {
        "batch_size": 8,
        "launch": {"processes": 2, "restarts": 0},
        "tracking": {"trackers": []},
    }
    parameters, workspace = TrainParameters.model_validate(section), Workspace(tmp_path)
    with pytest.raises(StageKilledError if may_pass else StageFailedError):
        Attempts(parameters, workspace, 0).run(
            lambda _: launch(parameters, launch_room(workspace).absolute(), ("trainer",))
        )
    outcome = read_outcome(outcome_file(workspace))
    assert outcome is not None
    assert (outcome.kind, outcome.may_pass) == (kind, may_pass)
    for text in says:
        assert text in outcome.message
