"""An installation comes up, is kept up, and goes, with small programs as its services."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from standing_in import bearing, decoy, server, start, until, worker

from services import ending, logs, ports, starting, state, supervised
from services.installation import commanding, overview
from services.marks import mark
from services.processes import process_of
from services.service import Service
from services.supervisor import Supervisor, as_line
from stage.errors import InputError, ViewforgeError
from stage.workspace import Workspace


@pytest.fixture
def place(tmp_path):
    place = Workspace(tmp_path / "workspace")
    place.root.mkdir()
    yield place
    ending.end_all(place, lambda _: None, 0)
    assert bearing(place) == []


def down(place, grace=0.0):
    return ending.end_all(place, lambda _: None, grace)


def test_what_comes_up_is_known_answers_and_goes(place):
    """Workers start when the servers answer and Prefect knows its pools."""
    seen = []

    def deploy():
        seen.extend(status.name for status in overview(place) if status.healthy)

    it = start(
        place, deploy=deploy, workers=(worker("import time; time.sleep(60)", PREFECT_API_AUTH_STRING="canary-4711"),)
    )
    assert starting.up(it)
    assert seen == ["supervisor", "prefect", "mlflow"]
    statuses = {status.name: status for status in overview(place)}
    assert list(statuses) == [*seen, "worker-cpu"]
    assert all(status.healthy and status.condition == "runs" for status in statuses.values())
    assert statuses["prefect"].address == f"http://127.0.0.1:{it.options.prefect_port}"
    assert abs(statuses["mlflow"].since - time.time()) < 30
    known = state.read(place)
    assert ports.holder(it.options.prefect_port) == known.service("prefect").process.pid
    assert not starting.up(it), "a second up starts nothing"
    assert state.read(place) == known
    second = a_second_supervisor(place)
    assert second.returncode == 1
    assert "another process" in second.stdout
    assert_secret(place, "canary-4711")
    assert down(place)
    assert not state.path(place).exists()
    assert bearing(place) == []
    assert ports.is_free("127.0.0.1", it.options.prefect_port)
    assert overview(place) == []
    assert not down(place)


def a_second_supervisor(place):
    command = [sys.executable, "-m", "services.supervisor", str(place.root), "{}"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def assert_secret(place, canary):
    """It reaches the service and nobody else."""
    written = b"".join(file.read_bytes() for file in place.services.rglob("*") if file.is_file())
    assert canary.encode() not in written
    assert not any(canary in part for process in bearing(place) for part in process.cmdline())
    process = state.read(place).service("worker-cpu").process
    assert psutil.Process(process.pid).environ()["PREFECT_API_AUTH_STRING"] == canary


def test_a_later_up_adds_what_is_missing_and_leaves_the_rest_alone(place):
    it = start(place)
    starting.up(it)
    before = state.read(place)
    store = server("store", ports.any_free())
    dying = Service("store", [sys.executable, "-c", "raise SystemExit(3)"], {}, None, None)
    for addition in (dying, store):
        more = replace(it, plan=replace(it.plan, servers=(*it.plan.servers, addition)))
        if addition is dying:
            with pytest.raises(ViewforgeError, match="store ended while it started"):
                starting.up(more)
            until(lambda: [status.healthy for status in overview(place)] == [True, True, True])
        else:
            assert starting.up(more)
        after = state.read(place)
        assert [known.process for known in after.services[:2]] == [known.process for known in before.services]
        assert after.supervised
    assert after.service("store").alive


def test_what_is_killed_is_started_again_and_finds_its_port_free(place):
    port = ports.any_free()
    # The one that listens is the child of the one that is known.
    child = server("mlflow", port)
    parent = f"import subprocess, sys; subprocess.run({child.command!r})"
    starting.up(start(place, servers=(replace(child, command=[sys.executable, "-c", parent]),)))
    listening, killed = ports.holder(port), state.read(place).service("mlflow").process
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: overview(place)[1].healthy and ports.holder(port) not in (None, listening))
    status = overview(place)[1]
    assert status.pid != killed.pid
    assert status.deaths == 1
    assert "mlflow ended (-9); it is started again in 1 s" in logs.tail(logs.path(place, "supervisor"))


def test_services_outlive_their_supervisor_and_the_next_one_takes_them_over(place):
    it = start(place)
    starting.up(it)
    before = state.read(place)
    kill_supervisor(place)
    assert [status.condition for status in overview(place)] == ["gone", "runs", "runs"]
    assert starting.up(it)
    after = state.read(place)
    assert after.supervised
    assert [known.process for known in after.services] == [known.process for known in before.services]
    os.kill(after.services[0].process.pid, signal.SIGKILL)
    killed = after.services[0].process
    until(lambda: overview(place)[1].healthy and state.read(place).services[0].process not in (killed, None))
    kill_supervisor(place)
    assert down(place)
    assert bearing(place) == []
    assert ports.is_free("127.0.0.1", it.options.mlflow_port)


def test_a_supervisor_that_was_told_nothing_forgets_nothing(place):
    it = start(place)
    starting.up(it)
    before = state.read(place)
    kill_supervisor(place)
    supervisor = Supervisor(place, it.options)
    supervisor.look()
    assert state.read(place).services == before.services
    supervisor.let_go()
    assert not state.read(place).supervised


def test_deaths_under_a_killed_supervisor_do_not_count_against_the_next(place):
    """Until it is told its services it writes down those of before: `up` took their deaths for its own services'."""
    it = start(place)
    starting.up(it)
    killed = state.read(place).service("mlflow").process
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: overview(place)[2].healthy and state.read(place).service("mlflow").deaths == 1)
    kill_supervisor(place)
    supervisor = Supervisor(place, it.options)
    supervisor.look()
    known = state.read(place).service("mlflow")
    assert (known.alive, known.deaths) == (True, 0)
    supervisor.let_go()
    assert starting.up(it)


def kill_supervisor(place):
    supervisor = state.read(place).supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: not supervisor.alive)


def test_down_ends_all_though_the_state_is_broken(place):
    starting.up(start(place))
    state.path(place).write_text("{")
    assert down(place)
    assert bearing(place) == []
    assert not state.path(place).exists()


@pytest.mark.parametrize("content", ["", "{", '{"options": 3}', "\x00" * 8])
def test_a_broken_state_is_told(tmp_path, content):
    place = Workspace(tmp_path)
    place.services.mkdir()
    state.path(place).write_text(content)
    with pytest.raises(InputError, match=r"state\.json is not a state .*; viewforge down"):
        overview(place)


def test_down_leaves_other_processes_of_the_same_program_alone(place, tmp_path):
    it = start(place)
    other = decoy(it.plan.servers[0], tmp_path)
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    theirs = start(elsewhere)
    try:
        starting.up(theirs)
        starting.up(it)
        down(place)
        assert other.poll() is None
        assert all(status.healthy for status in overview(elsewhere))
    finally:
        other.kill()
        other.wait()
        down(elsewhere)


def test_sigterm_to_the_supervisor_ends_all(place):
    starting.up(start(place))
    os.kill(state.read(place).supervisor.pid, signal.SIGTERM)
    until(lambda: bearing(place) == [])
    assert not state.path(place).exists()


@pytest.mark.parametrize("change", [{"boot": "another"}, {"started": 1.0}])
def test_a_state_of_before_a_reboot_harms_nobody(place, change):
    """Its process ids belong to others now."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stale = process_of(other.pid).model_copy(update=change)
        known = state.Known(name="prefect", process=stale, address=None, health=None, condition="runs", deaths=0)
        options = state.Options(prefect_port=ports.any_free(), mlflow_port=ports.any_free())
        state.write(place, state.State(options=options, supervisor=stale, services=(known,)))
        assert [status.condition for status in overview(place)] == ["gone", "gone"]
        assert not down(place)
        assert other.poll() is None
        assert not state.path(place).exists()
    finally:
        other.kill()
        other.wait()


def test_when_a_server_dies_at_its_start_its_last_words_are_told_and_the_others_end(place):
    words = "print('no such database', flush=True); raise SystemExit(3)"
    dying = Service("mlflow", [sys.executable, "-c", words], {}, "http://127.0.0.1:1", "http://127.0.0.1:1")
    it = start(place, servers=(server("prefect", ports.any_free()), dying))
    with pytest.raises(ViewforgeError, match=r"mlflow ended while it started;(?s:.)*no such database") as caught:
        starting.up(it)
    assert "run viewforge up again" in str(caught.value)
    assert bearing(place) == []
    assert not state.path(place).exists()


def test_a_server_that_never_answers_is_waited_for_no_longer_than_allowed(place):
    deaf = Service("mlflow", [sys.executable, "-c", "import time; time.sleep(60)"], {}, None, "http://127.0.0.1:1")
    with pytest.raises(ViewforgeError, match="mlflow did not answer for"):
        starting.up(start(place, servers=(deaf,), patience=1))
    assert bearing(place) == []


def test_when_pools_cannot_be_deployed_all_ends(place):
    def deploy():
        raise InputError("no pools", "mend them")

    with pytest.raises(InputError, match="no pools"):
        starting.up(start(place, deploy=deploy, workers=(worker("pass"),)))
    assert bearing(place) == []


def test_an_installation_without_workers_is_told_to_prefect_all_the_same(place):
    """As where Docker or Kubernetes runs the pools."""
    deployed = []
    it = start(place, deploy=lambda: deployed.append(1))
    starting.up(it)
    starting.up(replace(it, plan=replace(it.plan, servers=(*it.plan.servers, server("store", ports.any_free())))))
    assert deployed == [1]


def test_down_forgets_an_installation_whose_port_is_a_strangers(place, tmp_path):
    other = decoy(server("prefect", ports.any_free()), tmp_path)
    options = state.Options(prefect_port=listened(other), mlflow_port=ports.any_free())
    state.write(place, state.State(options=options, supervisor=None))
    try:
        with pytest.raises(ViewforgeError, match=f"still taken, by process {other.pid}, which is none of ours"):
            down(place)
        assert not down(place)
    finally:
        other.kill()
        other.wait()


def listened(process):
    """The port of a decoy, once it listens."""
    port = int(next(part for part in process.args if part.isdigit()))
    until(lambda: not ports.is_free("127.0.0.1", port))
    return port


def test_down_bears_an_address_that_the_machine_no_longer_has(place):
    state.write(place, state.State(options=state.Options(host="192.0.2.1"), supervisor=None))
    assert not down(place)
    assert not state.path(place).exists()


def test_a_full_disk_ends_no_supervision(place):
    """The supervisor's own log lies on it, too."""
    blocked = logs.path(place, "mlflow")
    blocked.mkdir(parents=True)
    sleeper = Service("mlflow", [sys.executable, "-c", "import time; time.sleep(60)"], {}, None, None)
    command = [sys.executable, "-m", "services.supervisor", str(place.root), state.Options().model_dump_json()]
    with Path("/dev/full").open("wb") as full:
        supervisor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=full, env={**os.environ, **mark(place, "supervisor")}
        )
    supervisor.stdin.write(as_line(sleeper))
    supervisor.stdin.close()
    try:
        until(lambda: state.path(place).exists() or supervisor.poll() is not None)
        time.sleep(1)
        assert supervisor.poll() is None
        blocked.rmdir()
        until(lambda: (known := state.read(place).service("mlflow")) and known.alive)
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_taken_port_is_named_with_who_has_it_before_anything_starts(place, tmp_path):
    it = start(place)
    other = decoy(it.plan.servers[0], tmp_path)
    port = int(next(part for part in other.args if part.isdigit()))
    try:
        until(lambda: not ports.is_free("127.0.0.1", port))
        with pytest.raises(
            InputError, match=rf"port {port} for Prefect is taken by process {other.pid} .*--prefect-port"
        ):
            starting.up(replace(it, options=it.options.model_copy(update={"prefect_port": port})))
        assert not state.path(place).exists()
    finally:
        other.kill()
        other.wait()


def test_one_command_at_a_time(place):
    with commanding(place), pytest.raises(ViewforgeError, match="another process"), commanding(place):
        pass


def test_a_flow_run_is_asked_to_stop_before_it_is_killed(place, tmp_path):
    saved, begun = tmp_path / "saved", tmp_path / "begun"
    run = (
        f"import pathlib, signal, sys, time\ndef save(*_):\n    pathlib.Path({str(saved)!r}).touch()\n    sys.exit(75)\n"
        f"signal.signal(signal.SIGTERM, save)\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)"
    )
    starting.up(start(place, workers=(worker(run),)))
    until(begun.exists)
    assert down(place, grace=20)
    assert saved.exists()
    assert (place.root / "anew").exists()


def test_a_flow_run_that_does_not_stop_is_killed_with_what_it_started(place, tmp_path):
    begun = tmp_path / "begun"
    run = (
        "import pathlib, signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        f"pathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)"
    )
    starting.up(start(place, workers=(worker(run),)))
    until(begun.exists)
    assert down(place, grace=0.5)
    assert bearing(place) == []
    assert (place.root / "anew").exists()


def test_a_dead_workers_flow_run_goes_on_and_is_ended_by_down(place, tmp_path):
    begun = tmp_path / "begun"
    run = f"import os, pathlib, time; pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); time.sleep(60)"
    starting.up(start(place, workers=(worker(run),)))
    until(lambda: begun.exists() and begun.read_text())
    orphan = psutil.Process(int(begun.read_text()))
    os.kill(state.read(place).service("worker-cpu").process.pid, signal.SIGKILL)
    until(lambda: state.read(place).service("worker-cpu").deaths == 1)
    assert orphan.is_running()
    down(place)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_what_dies_again_and_again_is_given_up(tmp_path):
    place, now = Workspace(tmp_path), 0.0
    it = supervised.Supervised(place, Service("mlflow", ["/nowhere"], {}), clock=lambda: now)
    said = []
    for _ in range(1000):
        if line := it.look():
            said.append((now, line))
        now += 0.5
    assert it.condition == "given up"
    # Waits of 1, 2, 4, 8 and 16 seconds.
    assert [when for when, _ in said] == [0, 1, 3, 7, 15, 31]
    assert "No such file or directory: '/nowhere'" in logs.tail(logs.path(place, "mlflow"))
    assert said[-1][1] == "mlflow ended (None) for the 6th time in a row and is given up"


def test_what_ends_at_once_is_asked_how(tmp_path):
    """Otherwise it would stay on the system's list of processes."""
    it = supervised.Supervised(
        Workspace(tmp_path), Service("mlflow", [sys.executable, "-c", "raise SystemExit(3)"], {})
    )
    pid = int(it.look().rpartition(" ")[2])
    said = []
    until(lambda: said.append(it.look()) or it.condition == "waits")
    assert said[-1] == "mlflow ended (3); it is started again in 1 s"
    assert not psutil.pid_exists(pid)


def test_what_lives_for_a_while_is_always_started_again(tmp_path):
    now = 0.0
    sleeper = Service("mlflow", [sys.executable, "-c", "import time; time.sleep(60)"], {})
    it = supervised.Supervised(Workspace(tmp_path), sleeper, clock=lambda: now)
    for deaths in range(1, 9):
        it.look()
        os.kill(it.process.pid, signal.SIGKILL)
        now += supervised.LIFE_SECONDS
        until(it.look)
        assert it.known().deaths == deaths
        assert it.condition == "waits"
        now += 1
