"""The units are what systemd takes, start what `viewforge up` starts, and give a training its time."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from services.foreground import GRACE_SECONDS, NAMES
from training.parameters import LaunchParameters

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "flows" / "deploy" / "systemd"
PROGRAM = "/opt/viewforge/.venv/bin/viewforge"
UNITS = sorted(path.name for path in FOLDER.iterdir())
ANALYZE = shutil.which("systemd-analyze")


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign] - systemd's names have capitals
    parser.read(FOLDER / name)
    return parser


def test_there_is_a_unit_for_every_service() -> None:
    services = {unit(name)["Service"]["ExecStart"].removeprefix(f"{PROGRAM} service ") for name in UNITS}
    pools = {name.partition("-")[2] for name in NAMES if name.startswith("worker-")}
    assert {name for service in services for name in ({service.replace("%i", pool) for pool in pools})} == set(NAMES)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_no_privileges_and_no_secret(name: str) -> None:
    service = unit(name)["Service"]
    assert service["User"] == "viewforge"
    assert (service["NoNewPrivileges"], service["CapabilityBoundingSet"], service["ProtectSystem"]) == (
        "yes",
        "",
        "strict",
    )
    assert service["EnvironmentFile"] == "/etc/viewforge/environment"
    assert "Environment" not in service
    assert service["KillMode"] == "mixed"


def test_a_worker_has_time_for_a_checkpoint_and_sees_its_gpu() -> None:
    service = unit("viewforge-worker@.service")["Service"]
    # The worker schedules its runs anew after their time, and before it is killed.
    assert 2 * LaunchParameters().grace_seconds < GRACE_SECONDS <= float(service["TimeoutStopSec"]) - 30
    # Each of them closes the devices.
    assert not {"PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow"} & set(service)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_waits_for_what_comes_up_within_minutes_and_gives_up_on_a_mistake(name: str) -> None:
    """After a start of the machine a database may come up after the server that needs it, which ends then."""
    whole = unit(name)
    tries, within = int(whole["Unit"]["StartLimitBurst"]), int(whole["Unit"]["StartLimitIntervalSec"])
    wait = int(whole["Service"]["RestartSec"])
    assert 300 <= tries * wait <= within / 2
    assert whole["Service"]["Restart"] == "on-failure"


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    assert ANALYZE is not None
    for name in UNITS:
        # It looks whether the program is there.
        (tmp_path / name).write_text((FOLDER / name).read_text().replace(PROGRAM, "/bin/echo"))
    files = [str(tmp_path / name) for name in UNITS]
    verdict = subprocess.run([ANALYZE, "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    ours = [line for line in verdict.stderr.splitlines() if "viewforge" in line]
    assert (verdict.returncode, ours) == (0, [])


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_the_units_little_exposed(name: str) -> None:
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", "--threshold=35", str(FOLDER / name)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout[-300:] + verdict.stderr


def test_the_page_shows_the_units_and_their_variables() -> None:
    page = (PROJECT / "docs" / "deployment.md").read_text()
    for name in UNITS:
        assert name in page
    example = (PROJECT / "flows" / "deploy" / "environment.example").read_text()
    assert not re.search(r"(PASSWORD|AUTH|AUTH_STRING|SECRET\w*)=\S", example)
