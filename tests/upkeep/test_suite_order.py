"""How `make test-slow` shares the tests out: the longest first, and those of one module's fixture in one process and in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MODULE = """
import pytest

@pytest.fixture(scope="module")
def grown():
    return []

@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_in_order(grown, number):
    assert len(grown) == number
    grown.append(number)

@pytest.mark.slow
def test_alone():
    pass

@pytest.mark.slow
@pytest.mark.minutes(3)
def test_long():
    pass
"""


def test_tests_that_share_a_fixture_share_a_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from suite import pytest_collection_modifyitems\n")
    (tmp_path / "suite.py").symlink_to(TESTS / "conftest.py")
    (tmp_path / "test_it.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: slow\n  minutes: long\n")
    recipe = (TESTS.parent / "Makefile").read_text()
    found = re.search(r"pytest (-n 2 --dist \S+ \S+) -m \"slow", recipe)
    assert found, "make test-slow has changed"
    path = os.pathsep.join([str(tmp_path), str(TESTS), str(TESTS.parent)])
    command = [sys.executable, "-m", "pytest", *found[1].split(), "-v", "--color=no", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    ended = re.findall(r"\[(gw\d)\] \[.*PASSED \S*::(\S+)", done.stdout)
    assert len(ended) == 6
    assert len({worker for worker, name in ended if "in_order" in name}) == 1
    # As the last of three pieces of work it would be nobody's first if the longest did not begin first.
    first = dict(reversed(ended))
    assert "test_long" in first.values()
