"""Why a training ended: what its processes said, how they ended and what the machine knows, as one of our errors with a remedy.

What may pass is a StageKilledError, after which the training goes on from its last checkpoint; what would happen again, as want
of memory, is a StageFailedError. Messages are those of torch 2.13, NCCL 2 and gloo, and our own.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from stage.errors import StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from training.launching.watch import Verdict
from training.parameters import TrainParameters

Kind: TypeAlias = Literal[
    "finished",
    "preempted",
    "killed",
    "silent",
    "stuck",
    "exchange_timeout",
    "exchange_lost",
    "device",
    "device_assert",
    "gpu_memory",
    "host_memory",
    "shared_memory",
    "disk_full",
    "not_finite",
    "data",
    "named",
    "error",
    "cancelled",
]
"""Reasons of an end, as `exit.json` and the tag `viewforge.exit_reason` name them (docs/launching.md)."""

MAY_PASS: Final = frozenset({"preempted", "killed", "silent", "stuck", "exchange_timeout", "exchange_lost", "device"})
"""After which another attempt goes on from the last checkpoint."""

MESSAGE: Final = "viewforge: "
"""How a line starts that a training process means for a person."""
_AGAIN = "run again: it continues from its checkpoint"
_KEPT = "finished checkpoints are kept"
_LONGEST = 300
# Torch puts it before the lines of a process, and before those of an exception once more.
_RANK = re.compile(r"^(?:\[rank(\d+)\]:\s?)+")
_NCCL_RANK = re.compile(r"\[Rank (\d+)\] Watchdog caught")
# What accelerate (one process), torch (several) and its loader (a worker, also in the middle of a step) say of one that a signal
# ended, and the last line of a Python traceback.
_KILLED = re.compile(r"(?:died with <Signals\.|Signal \d+ \(|DataLoader worker .* is killed by signal: )(\w+)")
_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception)\b")
_AT_ONCE = re.compile(r"\brank\s+: (\d+) \(local_rank")
# Torch's agent ends what is left of its machine when one has failed: this way those that hang in an exchange.
_ENDED_BY_AGENT = re.compile(r"Unable to shutdown process (\d+) via")
_PROCESS = re.compile(r"received by PID (\d+)")
# Signals by which a process ends of itself or of the kernel; by the others its launcher ends those that are left.
_CAUSES = ("SIGKILL", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "Killed", "Segmentation", "Bus")

# In the order in which they count: of several processes one fails first, and the others say that they lost it.
_TEXTS: tuple[tuple[Kind, str], ...] = (
    ("gpu_memory", r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory"),
    (
        "host_memory",
        r"^MemoryError|can't allocate memory: you tried to allocate|std::bad_alloc|Cannot allocate memory|"
        r"numpy\._core\._exceptions\._ArrayMemoryError|numpy\.core\._exceptions\._ArrayMemoryError",
    ),
    ("shared_memory", r"insufficient shared memory|unable to allocate shared memory|unable to open shared memory"),
    ("disk_full", r"[Nn]o space left on (the )?(device|disk)|Disk quota exceeded|Errno 28\b|Errno 122\b"),
    ("device_assert", r"device-side assert triggered"),
    (
        "device",
        r"uncorrectable ECC error|unspecified launch failure|GPU has fallen off the bus|\bXid\b|"
        r"CUDA error: (an illegal|hardware stack|unknown error|misaligned|the launch timed out|invalid device ordinal)|"
        r"no CUDA-capable device|CUDA driver initialization failed|all CUDA-capable devices are busy|"
        r"CUBLAS_STATUS_EXECUTION_FAILED|CUDNN_STATUS_EXECUTION_FAILED",
    ),
)
_EXCHANGE: tuple[tuple[Kind, str], ...] = (
    (
        "exchange_timeout",
        r"Watchdog caught collective operation timeout|timed out in blocking wait|Timed out waiting \d+ms|"
        r"DistStoreError: Timed out|RendezvousTimeoutError|client socket has timed out",
    ),
    (
        "exchange_lost",
        r"Connection (closed|reset) by (remote )?peer|ncclRemoteError|ncclSystemError|Broken pipe|DistNetworkError|"
        r"Connection was likely closed|RendezvousConnectionError|RendezvousClosedError|"
        r"terminate called after throwing an instance of 'gloo::",
    ),
)


@dataclass(frozen=True)
class ExitReason:
    """Why a training ended."""

    kind: Kind
    """The reason in a word."""
    message: str
    """What happened and where."""
    remedy: str = _AGAIN
    """What to do."""

    def error(self) -> ViewforgeError:
        """The same as an error: one that may pass, or one that would happen again."""
        if self.kind == "preempted":
            return StagePreemptedError(self.message, self.remedy)
        if self.kind in MAY_PASS:
            return StageKilledError(self.message, self.remedy, self.kind)
        return StageFailedError(f"training failed: {self.message}", self.remedy, self.kind)


def exit_reason(
    lines: Iterable[str], parameters: TrainParameters, verdict: Verdict | None = None, oom_kills: int = 0
) -> ExitReason:
    """Why the processes of one machine ended without being done.

    Args:
        lines: the last ones of their output, each process' with `[rank1]: ` before them where there are several.
        parameters: the run.
        verdict: of the watch, when it ended them.
        oom_kills: processes that the kernel killed for want of memory in the meantime.
    """
    said = list(lines)
    plain = [_RANK.sub("", line) for line in said]
    if verdict:
        return ExitReason(verdict.kind, f"{verdict.message}; its group was ended")
    return (
        _named(plain)
        or _found(_TEXTS, said, plain, parameters)
        or _by_signal(plain, parameters, oom_kills)
        or _exchange(said, plain, parameters)
        or _other(plain)
    )


def memory_remedy(parameters: TrainParameters) -> str:
    """How to need less GPU memory: less at once and the same pairs in a step, where a step can be cut further."""
    launch, pairs = parameters.launch, parameters.batch_size
    parts = launch.processes * launch.accumulate
    for accumulate in range(launch.accumulate + 1, pairs // launch.processes + 1):
        if pairs % (launch.processes * accumulate) == 0:
            fewer = f"{pairs // (launch.processes * accumulate)} instead of {pairs // parts} pairs at once"
            return f"set train.launch.accumulate to {accumulate}: {fewer}, and a step keeps its {pairs}"
    others = [
        *(["train.hardware.gradient_checkpointing: true"] if not parameters.hardware.gradient_checkpointing else []),
        *(["train.launch.mixed_precision: bf16"] if launch.mixed_precision == "no" else []),
        *(["train.launch.sharding: full"] if launch.processes > 1 and launch.sharding == "none" else []),
        "a GPU with more memory",
    ]
    return f"a step cannot be cut further; set {', or '.join(others)}"


def _named(plain: Sequence[str]) -> ExitReason | None:
    """What a process said itself."""
    ours = [line.removeprefix(MESSAGE) for line in plain if line.startswith(MESSAGE)]
    if not ours:
        return None
    last = ours[-1]
    if last.startswith(StageKilledError.PREFIX):
        reason = last.removeprefix(StageKilledError.PREFIX)
        preempted = reason.startswith(StagePreemptedError.PREEMPTED)
        return ExitReason(
            "preempted" if preempted else "killed", reason.removeprefix(StagePreemptedError.PREEMPTED), ""
        )
    return ExitReason(_named_kind(last), last, _KEPT)


def _named_kind(message: str) -> Kind:
    if "steps were left out" in message:
        return "not_finite"
    if re.search(r"no space left on the disk", message):
        return "disk_full"
    return "data" if re.search(r"\bshards?\b|objects failed|is damaged|\bset\b.*cannot be", message) else "named"


def _found(
    texts: Sequence[tuple[Kind, str]], said: Sequence[str], plain: Sequence[str], parameters: TrainParameters
) -> ExitReason | None:
    for kind, pattern in texts:
        for line, text in zip(said, plain, strict=True):
            if re.search(pattern, text):
                return ExitReason(kind, f"{_of_rank(line)}{_short(text)}", _remedy(kind, parameters))
    return None


def _remedy(kind: Kind, parameters: TrainParameters) -> str:
    fewer = "fewer train.data.workers" if parameters.data.workers else "a machine with more memory"
    return {
        "gpu_memory": memory_remedy(parameters),
        "host_memory": f"{fewer}, or more memory in the job (train.launch.slurm.memory)",
        "shared_memory": "fewer train.data.workers, or a larger /dev/shm (docker run --shm-size)",
        "disk_full": f"free some space and run again; {_KEPT}",
        "device_assert": "an index is out of range: run once with CUDA_LAUNCH_BLOCKING=1 and --verbose to see where",
        "device": f"{_AGAIN}; if it comes back, that GPU is suspected: leave its machine out (slurm.extra: exclude)",
    }.get(kind, _AGAIN)


def _by_signal(plain: Sequence[str], parameters: TrainParameters, oom_kills: int) -> ExitReason | None:
    signals = _signals(plain)
    causes = [(rank, name) for rank, name in signals if name.startswith(_CAUSES)]
    if not causes:
        return None
    # Torch tells last which one was first.
    rank, name = causes[-1]
    if oom_kills and name in ("SIGKILL", "Killed"):
        killed = f"the kernel killed {oom_kills} of this machine's processes for want of memory"
        return ExitReason("host_memory", killed, _remedy("host_memory", parameters))
    ranks = [match.group(1) for line in plain if (match := _AT_ONCE.search(line))]
    who = f" (rank {rank or ranks[-1]})" if ranks else ""
    return ExitReason(
        "killed", f"a training process{who} ended by {name if name.startswith('SIG') else signals[-1][1]}"
    )


def _signals(plain: Sequence[str]) -> list[tuple[str, str]]:
    """Rank, if it is told, and signal of each process that one ended, but for those that torch's agent ended."""
    ended = {match.group(1) for line in plain if (match := _ENDED_BY_AGENT.search(line))}
    rank, found = "", []
    for line in plain:
        if match := _AT_ONCE.search(line):
            rank = match.group(1)
        process = _PROCESS.search(line)
        if (match := _KILLED.search(line)) and not (process and process.group(1) in ended):
            found.append((rank, match.group(1)))
    return found


def _exchange(said: Sequence[str], plain: Sequence[str], parameters: TrainParameters) -> ExitReason | None:
    found = _found(_EXCHANGE, said, plain, parameters)
    if found is None:
        # What ends processes by another signal, as a watchdog's abort, is said above.
        signals = _signals(plain)
        return ExitReason("killed", f"a training process ended by {signals[-1][1]}") if signals else None
    return ExitReason(found.kind, f"{found.message}{_suspect(said, parameters)}", found.remedy)


def _suspect(said: Sequence[str], parameters: TrainParameters) -> str:
    """Who did not complain is who the others waited for, where all of them are heard here."""
    waited = {int(match.group(1)) for line in said if (match := _NCCL_RANK.search(line))}
    missing = sorted(set(range(parameters.launch.processes)) - waited)
    if not waited or not missing or parameters.launch.machines > 1:
        return ""
    return f" (rank {', '.join(map(str, missing))} did not wait for it: suspected)"


def _other(plain: Sequence[str]) -> ExitReason:
    errors = [line for line in plain if _EXCEPTION.match(line)]
    reason = (errors or list(plain) or ["no message"])[0 if errors else -1]
    return ExitReason("error", reason, f"--verbose shows where; {_KEPT}")


def _of_rank(line: str) -> str:
    match = _RANK.match(line)
    return f"rank {match.group(1)}: " if match else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
