"""Why a training ended: messages of torch, NCCL, gloo, Python and the kernel, and what is done about each."""

import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stage.errors import StageFailedError, StageKilledError, StagePreemptedError
from training.guard import Guard
from training.launching.evidence import oom_kills
from training.launching.exit_reason import exit_reason, memory_remedy
from training.launching.heartbeat import Beat
from training.launching.watch import Verdict
from training.parameters import GuardParameters, TrainParameters

CUDA_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which "
    "1.20 GiB is free."
)
WATCHDOG = (
    "[rank{0}]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank {0}] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=466, NumelOut=466, Timeout(ms)=600000) ran for 600060 milliseconds before "
    "timing out."
)
REMOTE = [
    "[rank0]: torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, remote "
    "process exited or there was a network error, NCCL version 2.21.5",
    "[rank0]: ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
]
GLOO = (
    "[rank0]: [rank0]: RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer "
    "[127.0.0.1]:41234"
)
AGENT_KILLED = [
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    "  rank      : 1 (local_rank: 1)",
    "  exitcode  : -9 (pid: 4711)",
    "  traceback : Signal 9 (SIGKILL) received by PID 4711",
]
# As torch's agent tells it when rank 1 failed and rank 0, which hung in an exchange, was killed 30 s later.
AGENT_ENDED_ANOTHER = [
    "W1122 19:50:54.850000 11338 torch/distributed/elastic/multiprocessing/api.py:1047] Unable to shutdown process 11355 via "
    "15, forcefully exiting via 9",
    "  rank      : 0 (local_rank: 0)",
    "  exitcode  : -9 (pid: 11355)  (SIGKILL)",
    "  traceback : Signal 9 (SIGKILL) received by PID 11355",
    "Root Cause (first observed failure):",
    "  rank      : 1 (local_rank: 1)",
]
SHARED = "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm)."


def run(**launch: Any) -> TrainParameters:
    return TrainParameters.model_validate({"batch_size": 32, "launch": {"processes": 4, **launch}})


@pytest.mark.parametrize(
    ("lines", "kind", "says"),
    [
        ([f"[rank2]: [rank2]: {CUDA_MEMORY}", GLOO], "gpu_memory", "rank 2: torch.OutOfMemoryError: CUDA out of memory"),
        (["RuntimeError: CUDA error: out of memory"], "gpu_memory", "out of memory"),
        (["RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"], "gpu_memory", "CUBLAS"),
        (["MemoryError"], "host_memory", "MemoryError"),
        (
            ["RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
             "to allocate 8000000000000 bytes. Error code 12 (Cannot allocate memory)"],
            "host_memory",
            "you tried to allocate",
        ),
        ([SHARED, "DataLoader worker (pid 12) is killed by signal: Bus error."], "shared_memory", "insufficient shared"),
        (["OSError: [Errno 28] No space left on device: '/data/scratch/x'"], "disk_full", "No space left"),
        (["viewforge: no space left on the disk at /data; free some"], "disk_full", "no space left"),
        (["RuntimeError: CUDA error: device-side assert triggered"], "device_assert", "device-side assert"),
        (["RuntimeError: CUDA error: uncorrectable ECC error encountered"], "device", "uncorrectable ECC"),
        (["[rank3]: RuntimeError: CUDA error: unspecified launch failure", GLOO], "device", "rank 3: "),
        ([GLOO, *AGENT_KILLED], "killed", "a training process (rank 1) ended by SIGKILL"),
        (["died with <Signals.SIGKILL: 9>."], "killed", "ended by SIGKILL"),
        (
            [*(WATCHDOG.format(rank) for rank in (0, 1, 3)), "Signal 6 (SIGABRT) received by PID 12"],
            "exchange_timeout",
            "(rank 2 did not wait for it: suspected)",
        ),
        (
            [WATCHDOG.format(1), *AGENT_ENDED_ANOTHER, "Signal 6 (SIGABRT) received by PID 11356"],
            "exchange_timeout",
            "(rank 0, 2, 3 did not wait for it: suspected)",
        ),
        ([*AGENT_ENDED_ANOTHER, "Signal 11 (SIGSEGV) received by PID 11356"], "killed", "(rank 1) ended by SIGSEGV"),
        (["ValueError: odd", *AGENT_ENDED_ANOTHER], "error", "ValueError: odd"),
        (REMOTE, "exchange_lost", "ncclRemoteError"),
        ([GLOO], "exchange_lost", "rank 0: RuntimeError: [/pytorch/third_party/gloo"),
        (
            ["torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError"],
            "exchange_timeout",
            "RendezvousTimeoutError",
        ),
        (["Signal 15 (SIGTERM) received by PID 7"], "killed", "ended by SIGTERM"),
        (
            ["viewforge: 6 of 7 steps were left out, 6 in a row; the first was step 2: loss inf; lower the rate"],
            "not_finite",
            "6 of 7 steps were left out",
        ),
        (["[rank1]: viewforge: 1 of 6 objects failed, over the limit of 1%"], "data", "1 of 6 objects failed"),
        (["viewforge: no such thing"], "named", "no such thing"),
        (["Traceback (most recent call last):", "ValueError: odd"], "error", "ValueError: odd"),
        ([], "error", "no message"),
    ],
)  # fmt: skip
def test_real_messages(lines: list[str], kind: str, says: str) -> None:
    reason = exit_reason(lines, run())
    assert reason.kind == kind
    assert says in reason.message
    may_pass = kind in {"killed", "device", "exchange_timeout", "exchange_lost"}
    error = reason.error()
    assert isinstance(error, StageKilledError if may_pass else StageFailedError)
    assert error.kind == kind
    assert str(error).startswith(StageKilledError.PREFIX) == may_pass
    assert ("set train.launch.accumulate to 2: 4 instead of 8 pairs" in str(error)) == (kind == "gpu_memory")


def test_what_the_guard_says_is_known() -> None:
    with pytest.raises(StageFailedError) as caught:
        Guard(GuardParameters(max_skipped_in_a_row=0, max_skipped_share=0)).left_out(3, "loss nan", 0.1, ["a"])
    reason = exit_reason([f"viewforge: {caught.value}"], run())
    assert reason.kind == "not_finite"
    assert "lower train.optimizer.learning_rate" in str(reason.error())


def test_being_asked_to_stop_is_no_failure() -> None:
    error = exit_reason(["viewforge: killed: asked to stop: a checkpoint holds step 3 of 9; run again"], run()).error()
    assert isinstance(error, StagePreemptedError)
    assert str(error) == "killed: asked to stop: a checkpoint holds step 3 of 9; run again"
    assert error.kind == "preempted"


def test_the_watch_knows_better_than_what_was_said() -> None:
    beat = Beat(1, "node-2", 4711, 12, "step", 3.0, 0.5, 8)
    verdict = Verdict("silent", "rank 1 on node-2 (process 4711, step 12) has given no sign of life for 41 s", beat)
    error = exit_reason(AGENT_KILLED, run(), verdict).error()
    assert str(error).startswith("killed: rank 1 on node-2 (process 4711, step 12) has given no sign of life for 41 s")
    assert error.kind == "silent"


def test_a_kill_for_want_of_memory_is_one() -> None:
    assert exit_reason(AGENT_KILLED, run(), oom_kills=1).kind == "host_memory"
    assert exit_reason(["died with <Signals.SIGSEGV: 11>."], run(), oom_kills=1).kind == "killed"


@pytest.mark.parametrize(
    ("launch", "batch", "remedy"),
    [
        ({"processes": 4}, 32, "set train.launch.accumulate to 2: 4 instead of 8 pairs at once, and a step keeps its 32"),
        ({"processes": 2, "accumulate": 2}, 36, "set train.launch.accumulate to 3: 6 instead of 9 pairs at once"),
        ({"processes": 1, "accumulate": 5}, 5, "train.hardware.gradient_checkpointing: true, or train.launch.mixed_precision"),
        ({"processes": 2, "accumulate": 1, "mixed_precision": "bf16"}, 2, "train.launch.sharding: full, or a GPU with more"),
    ],
)  # fmt: skip
def test_less_memory_and_the_same_step(launch: dict[str, Any], batch: int, remedy: str) -> None:
    parameters = TrainParameters.model_validate({"batch_size": batch, "launch": launch})
    assert remedy in memory_remedy(parameters)
    told = re.search(r"accumulate to (\d+)", memory_remedy(parameters))
    if told:
        assert batch % (launch["processes"] * int(told.group(1))) == 0


def said_by(program: str, **options: Any) -> list[str]:
    """What a Python that ends in an error says."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode
    return done.stderr.splitlines()


def test_a_real_want_of_memory() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))

    assert exit_reason(said_by("bytearray(1 << 30)", preexec_fn=limit), run()).kind == "host_memory"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert exit_reason([f"RuntimeError: {caught.value}"], run()).kind == "host_memory"


def test_a_real_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    assert exit_reason(said_by("f = open('/dev/full', 'w'); f.write('x'); f.flush()"), run()).kind == "disk_full"


LOST = """
import os, sys, torch, torch.distributed as dist
rank = int(sys.argv[1])
os.environ |= {"RANK": sys.argv[1], "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
dist.init_process_group("gloo")
dist.all_reduce(torch.zeros(1))
if rank:
    os._exit(9)
dist.all_reduce(torch.zeros(1))
"""


def test_a_real_lost_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    pair = [
        subprocess.Popen([sys.executable, "-c", LOST, str(rank), str(port)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    _, errors = pair[0].communicate(timeout=120)
    pair[1].communicate(timeout=120)
    assert pair[0].returncode
    assert exit_reason(errors.splitlines(), run()).kind == "exchange_lost"


def test_kills_for_want_of_memory_are_counted(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text("pgfault 12\noom_kill 7\n")
    assert oom_kills(proc=proc, groups=groups) == 7
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    assert oom_kills(proc=proc, groups=groups) == 7
    (groups / "job" / "step").mkdir(parents=True)
    (groups / "job" / "step" / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(proc=proc, groups=groups) == 2
    (proc / "self" / "cgroup").write_text("4:memory:/old\n0::/none\n")
    (groups / "memory" / "old").mkdir(parents=True)
    (groups / "memory" / "old" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert oom_kills(proc=proc, groups=groups) == 5
    assert oom_kills(proc=tmp_path / "nowhere", groups=groups) == 0
    assert oom_kills(str(os.getpid())) >= 0
