"""The services of an installation, from what was asked for."""

from dataclasses import dataclass

from services import store
from services.mlflow_server import mlflow_service
from services.ports import check_free
from services.prefect_services import POOLS, client_environment, prefect_service, worker_service
from services.service import Service
from services.state import Options, State
from stage.errors import ParameterError
from stage.workspace import Workspace

STORE_PORT = 9000


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    servers: tuple[Service, ...]
    workers: tuple[Service, ...]
    """They start when the servers answer and the server of Prefect knows pools and deployments."""
    environment: dict[str, str]
    """By which clients on this machine know the servers."""

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them."""
        return (*self.servers, *self.workers)


def settled(asked: dict[str, str | int | None], before: State | None, *, with_store: bool | None = None) -> Options:
    """The options of an installation: what was asked for, what runs, and the defaults, in this order.

    Args:
        asked: fields of `Options`; None where nothing was said.
        before: the installation as it is.
        with_store: whether it has a store, on whichever port; None where nothing was said.

    Raises:
        ParameterError: when something runs that would have to end for what was asked.
    """
    said: dict[str, str | int | None] = {name: value for name, value in asked.items() if value is not None}
    kept = before.options.model_dump() if before is not None else {}
    if with_store is False:
        said["store_port"] = None
    elif with_store and "store_port" not in said:
        said["store_port"] = kept.get("store_port") or STORE_PORT
    for name, value in said.items():
        if before is not None and kept[name] not in (value, None) and _running(before, name):
            raise ParameterError(
                f"{name.replace('_', ' ')} of what runs is {kept[name]}, not {value}",
                "run viewforge down first, or leave the option out",
            )
    return Options.model_validate({**kept, **said})


def _running(before: State, option: str) -> bool:
    """Whether a service runs that the option is about; the host is about the servers of people."""
    names = ("prefect", "mlflow") if option == "host" else (_service_of(option),)
    return any(known.alive for known in before.services if known.name in names)


def _service_of(option: str) -> str:
    name, _, rest = option.partition("_")
    return f"worker-{name}" if rest == "workers" else name


def plan(place: Workspace, options: Options, before: State | None) -> Plan:
    """The services.

    Args:
        place: the installation's workspace.
        options: what it consists of.
        before: the installation as it is; a worker that runs keeps the port on which it tells its health.

    Raises:
        InputError: when a server would be exposed without credentials, or the store cannot run.
        ParameterError: when a configuration will not do.
    """
    prefect = prefect_service(options.host, options.prefect_port)
    kept = store.client_environment(options.store_port) if options.store_port is not None else {}
    mlflow = _over(mlflow_service(place, options.host, options.mlflow_port), kept)
    environment = {
        **client_environment(options.host, options.prefect_port),
        "MLFLOW_TRACKING_URI": f"{mlflow.address}",
        **kept,
    }
    servers = [prefect, mlflow]
    if options.store_port is not None:
        servers.append(store.store_service(place, options.store_port))
    limits = dict(zip(POOLS, (options.cpu_workers, options.gpu_workers), strict=True))
    workers = [
        worker_service(pool, limit, environment, health=_health(before, f"worker-{pool}"))
        for pool, limit in limits.items()
        if limit
    ]
    return Plan(tuple(servers), tuple(workers), environment)


def _over(service: Service, environment: dict[str, str]) -> Service:
    return Service(
        service.name, service.command, {**environment, **service.environment}, service.address, service.health
    )


def _health(before: State | None, name: str) -> str | None:
    known = before.service(name) if before is not None else None
    return known.health if known is not None and known.alive else None


def check_ports(options: Options, names: set[str]) -> None:
    """Refuse ports that are taken.

    Args:
        options: of the installation.
        names: the services that are to be started.

    Raises:
        InputError: with the option that chooses another.
    """
    if "prefect" in names:
        check_free("Prefect", options.host, options.prefect_port, "--prefect-port")
    if "mlflow" in names:
        check_free("MLflow", options.host, options.mlflow_port, "--mlflow-port")
    if "store" in names and options.store_port is not None:
        store.check_ports(options.store_port)
