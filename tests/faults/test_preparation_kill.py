"""A preparation that is killed at whatever moment leaves no half shard, and goes on to the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "training"))

from preparation_support import co3d_set  # noqa: E402


@pytest.mark.slow
def test_killed_before_any_operation_on_a_file(tmp_path, program_environment):
    source = co3d_set(tmp_path / "co3d", sequences=2, views=2)
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_preparation.py")), source, tmp_path / "runs"],
        env=program_environment,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 10
