"""Fan-out over objects: where a stage's jobs are run, behind one small interface.

A stage hands over jobs and the name of a worker function and receives one `Outcome` an object, in order of completion, from
supervised processes of this machine (`stage.executor_local`) or of a Ray cluster (`stage.executor_ray`). Both supervise in the
same way (`stage.crew`), so a stage does not know where it runs.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from stage.failures import Outcome
from stage.pace import Cost
from stage.parameters import Parameters


class ExecutorParameters(Parameters):
    """How a stage's worker processes are run; the name of a kind alone stands for that kind and the other values' defaults."""

    kind: Literal["local", "ray"] = "local"
    """Supervised processes on this machine, or the same on the nodes of a Ray cluster."""
    address: str | None = None
    """Ray cluster to join, as `auto` or host:port; null takes RAY_ADDRESS, or starts Ray on this machine alone."""
    workers: int = Field(default=0, ge=0)
    """Worker processes; 0 takes one per CPU core, in a cluster as many as its free cores hold."""
    threads: int = Field(default=0, ge=0)
    """Threads of each worker; 0 shares out this machine's cores between them, and takes one in a cluster."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of a cluster that each worker reserves; without one Ray hides them. Workers of this machine see all."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """Wall-clock limit of one object; the worker's process group is killed past it."""
    memory_limit_gib: float = Field(default=8.0, gt=0)
    """Resident memory limit of one worker with its children."""
    recycle_after: int = Field(default=100, ge=1)
    """Objects after which a worker process is replaced, since Blender's memory creeps."""
    recycle_growth_gib: float = Field(default=1.0, gt=0)
    """Growth of a worker's resident memory since its first object past which it is replaced."""
    attempts: int = Field(default=2, ge=1)
    """Attempts at an object whose failure may pass (crash, timeout, out of memory)."""
    retry_delay_seconds: float = Field(default=1.0, ge=0)
    """Least wait before an object's second attempt; it doubles with each further one."""
    price_per_core_hour: float | None = Field(default=None, ge=0)
    """Price of a CPU core for an hour; with it progress tells the cost of 1,000 objects, without it their core-seconds."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, values: Any) -> Any:  # noqa: ANN401 - any YAML value
        return {"kind": values} if isinstance(values, str) else values

    def worker_count(self) -> int:
        """The number of worker processes on this machine."""
        return self.workers or len(os.sched_getaffinity(0))

    def threads_per_worker(self) -> int:
        """Threads that each worker may use; on this machine so many that all together fill the cores."""
        if self.threads or self.kind == "ray":
            return self.threads or 1
        return max(1, len(os.sched_getaffinity(0)) // self.worker_count())

    def cost(self) -> Cost | None:
        """What the workers take up while they run; None where a cluster decides how many they are."""
        if self.kind == "ray" and not self.workers:
            return None
        return Cost(self.worker_count() * self.threads_per_worker(), self.price_per_core_hour)


# What a worker function receives, as JSON; or what makes it, called when it is the job's turn.
Payload = dict[str, Any] | Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One object's work: its uid and what the worker function receives."""

    uid: str
    payload: Payload

    def message(self) -> dict[str, Any]:
        """The payload, made now if it is made on demand."""
        return self.payload() if callable(self.payload) else self.payload


class Executor(Protocol):
    """Runs jobs somewhere and reports each object exactly once."""

    def run(self, handler: str, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome a job, in order of completion; `handler` is "module:function".

        Jobs are taken as workers become free, the first first, so that only those that are out are held.

        Raises:
            InputError: when there is no such cluster.
            StageFailedError: when workers cannot start, or the disk is full.
        """
        ...


def executor_for(parameters: ExecutorParameters) -> Executor:
    """The executor that the parameters name; what it needs is imported now and not before."""
    if parameters.kind == "ray":
        from stage.executor_ray import RayExecutor

        return RayExecutor(parameters)
    from stage.executor_local import LocalExecutor

    return LocalExecutor(parameters)
