"""Parameters of a training that Slurm runs: the section `train.launch.slurm`."""

from pydantic import Field

from stage.parameters import Parameters


class SlurmParameters(Parameters):
    """What `sbatch` is asked for; the stage submits the job, waits for it and follows its output."""

    nodes: int = Field(default=1, ge=1)
    """Machines; each runs `train.launch.processes` / nodes processes."""
    partition: str | None = None
    """Partition; null takes the cluster's default."""
    account: str | None = None
    """Account that pays."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that the machines must have, as `a100`."""
    gpus_per_node: int | None = Field(default=None, ge=0)
    """GPUs of each machine; null asks for one a process, 0 for none."""
    cpus_per_task: int | None = Field(default=None, ge=1)
    """Cores of each machine, for all of its processes and the workers that read for them."""
    memory: str | None = None
    """Memory of each machine, as `120G`."""
    time_minutes: int = Field(default=24 * 60, ge=1)
    """Time limit. Before it, as before a preemption, the job is told to save a checkpoint."""
    requeue: bool = True
    """Whether a job that was told to stop goes back into the queue; otherwise the stage ends with status 75."""
    setup: list[str] = Field(default_factory=list)
    """Shell lines before the training, as `module load cuda`."""
    extra: dict[str, str | int | bool] = Field(default_factory=dict)
    """Other options of `sbatch` by their long names, as `{exclude: node7}`."""
    poll_seconds: float = Field(default=15.0, gt=0)
    """Between two questions to `sacct`; the job's output is followed every second."""
