"""What the pipeline makes of a stage's end: by its line it knows whether another attempt may succeed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.flow_parameters import FlowParameters
from flows.stage_run import StageCrashError, StageRunError, run_stage
from stage.errors import StageFailedError, StagePreemptedError

STOPPED = StagePreemptedError("a checkpoint holds step 5 of 12", "run again: it goes on there")
FAILED = StageFailedError("6 of 7 steps were left out")


def test_a_stage_that_was_asked_to_stop_may_be_tried_again(tmp_path: Path) -> None:
    """Stages that end as the command line does with an error."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    ends = {"stopped": STOPPED, "failed": FAILED}
    stages = {name: {"cmd": f"echo 'viewforge: {end}' >&2; exit {end.EXIT_STATUS}"} for name, end in ends.items()}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(StageCrashError, match=str(STOPPED)):
        run_stage(tmp_path, "stopped", lambda _: None, lambda _: None, FlowParameters())
    with pytest.raises(StageRunError, match=str(FAILED)):
        run_stage(tmp_path, "failed", lambda _: None, lambda _: None, FlowParameters())
