"""Slurm on one machine: sbatch, srun, squeue, sacct, scancel and scontrol that really run a job's script as local processes.

This file is its own program, under the name of each command. Jobs lie in the folder `FAKE_SLURM`, one JSON file each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")
KILL_WAIT = 30.0


def install(folder: Path) -> dict[str, str]:
    """Put the commands into a folder; the environment in which they are found."""
    for name in COMMANDS:
        path = folder / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)
    (folder / "jobs").mkdir()
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return {"PATH": path, "FAKE_SLURM": str(folder / "jobs")}


def jobs(folder: Path) -> list[dict[str, Any]]:
    """What became of the jobs, in their order."""
    return [json.loads(path.read_text()) for path in sorted((folder / "jobs").glob("*.json"))]


def end_all(folder: Path) -> None:
    """Kill what still runs."""
    for job in jobs(folder):
        for process in _family(job):
            _signal(process, signal.SIGKILL)
        if (runner := _found(job.get("runner"))) is not None:
            _signal(runner.pid, signal.SIGKILL)


def _file(job: str) -> Path:
    return Path(os.environ["FAKE_SLURM"]) / f"{job}.json"


def _read(job: str) -> dict[str, Any]:
    return dict(json.loads(_file(job).read_text()))


def _change(number: str, **values: Any) -> None:
    path = _file(number)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({**(_read(number) if path.exists() else {}), **values}))
    temporary.replace(path)


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _told(process: "subprocess.Popen[bytes]") -> list[float]:
    """A process for a job's file: ids alone are given to others soon."""
    return [process.pid, psutil.Process(process.pid).create_time()]


def _found(told: list[float] | None) -> psutil.Process | None:
    """The process that a job's file tells of, where it still is that one."""
    with suppress(psutil.Error):
        if told and (process := psutil.Process(int(told[0]))).create_time() == told[1]:
            return process
    return None


def _family(job: dict[str, Any]) -> list[int]:
    """All processes below the job's script."""
    script = _found(job.get("script"))
    with suppress(psutil.Error):
        return [child.pid for child in script.children(recursive=True)] if script else []
    return []


def sbatch(arguments: list[str]) -> None:
    lines = Path(arguments[-1]).read_text().splitlines()
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH --")
    )
    job = str(101 + len(list(_file("0").parent.glob("*.json"))))
    _change(job, job=job, state="PENDING", asked=asked, starts=0, script_text="\n".join(lines))
    runner = subprocess.Popen(
        [sys.executable, __file__, "run", job],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _change(job, runner=_told(runner))
    print(f"Submitted batch job {job}")


def run(arguments: list[str]) -> None:
    (job,) = arguments
    told = _read(job)
    asked, text = told["asked"], told["script_text"]
    environment = {
        **os.environ,
        "SLURM_JOB_ID": job,
        "SLURM_JOB_NUM_NODES": asked["nodes"],
        "SLURM_NTASKS": asked["nodes"],
        "SLURM_JOB_NODELIST": "127.0.0.1",
    }
    code = 0
    while _read(job)["state"] == "PENDING":
        with Path(asked["output"].replace("%j", job)).open("ab") as output:
            script = subprocess.Popen(
                ["bash", "-c", text], env=environment, stdout=output, stderr=output, start_new_session=True
            )
        _change(job, state="RUNNING", script=_told(script), starts=_read(job)["starts"] + 1)
        code = script.wait()
    if _read(job)["state"] == "RUNNING":
        _change(job, state="FAILED" if code else "COMPLETED")


def srun(arguments: list[str]) -> None:
    output = arguments[arguments.index("--output") + 1]
    command = arguments[arguments.index("--output") + 2 :]
    tasks = []
    for number in range(int(os.environ["SLURM_JOB_NUM_NODES"])):
        path = Path(output.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", str(number)))
        rank = {"SLURM_PROCID": str(number), "SLURM_NODEID": str(number), "SLURM_LOCALID": "0"}
        tasks.append(
            subprocess.Popen(command, env={**os.environ, **rank}, stdout=path.open("ab"), stderr=subprocess.STDOUT)
        )
    sys.exit(max(abs(task.wait()) for task in tasks))


def squeue(arguments: list[str]) -> None:
    if "--name" in arguments:
        name = arguments[arguments.index("--name") + 1]
        for path in sorted(_file("0").parent.glob("*.json")):
            told = _read(path.stem)
            if told["state"] in {"PENDING", "RUNNING"} and told["asked"]["job-name"] == name:
                print(told["job"])
        return
    job = arguments[arguments.index("--jobs") + 1]
    state = _read(job)["state"] if _file(job).exists() else None
    if state not in {"PENDING", "RUNNING"}:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    print(state)


def sacct(arguments: list[str]) -> None:
    job = arguments[arguments.index("-j") + 1]
    if not _file(job).exists():
        return print("JobID|State|NodeList")
    state = _read(job)["state"]
    print("JobID|State|NodeList", f"{job}|{'CANCELLED by 1000' if state == 'CANCELLED' else state}|n1", sep="\n")


def scancel(arguments: list[str]) -> None:
    job = _read(arguments[-1])
    if "--signal=USR1" in arguments:
        for process in _family(job):
            _signal(process, signal.SIGUSR1)
        return
    if job["state"] in {"PENDING", "RUNNING"}:
        _change(job["job"], state="CANCELLED")
        _end(job)


def scontrol(arguments: list[str]) -> None:
    assert arguments[0] == "requeue"
    job = _read(arguments[1])
    _change(job["job"], state="PENDING")
    family = _family(job)
    subprocess.Popen(
        [sys.executable, __file__, "end", *map(str, family)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(arguments: list[str]) -> None:
    for process in arguments:
        _signal(int(process), signal.SIGKILL)


def _end(job: dict[str, Any]) -> None:
    for process in _family(job):
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + KILL_WAIT
    while (left := _family(job)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        _signal(process, signal.SIGKILL)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
