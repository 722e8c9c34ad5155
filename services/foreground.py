"""One service of an installation in the foreground, for a supervisor of the machine's own: systemd, Docker Compose.

The same commands and variables as `viewforge up` uses. Run `viewforge service NAME`.
"""

import os
from typing import NoReturn

from services.mlflow_server import mlflow_service
from services.prefect_services import POOLS, prefect_service, worker_service
from services.service import Service
from services.state import Options
from services.store import store_service
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

NAMES = ("prefect", "mlflow", "store", *(f"worker-{pool}" for pool in POOLS))
_DEFAULTS = Options()
_STORE_PORT = 9000
GRACE_SECONDS = 120.0
"""What a worker's flow runs get for stopping; less than whoever started the worker waits until it kills everything."""


def service_named(
    name: str,
    place: Workspace,
    host: str | None = None,
    port: int | None = None,
    limit: int | None = None,
    grace: float | None = None,
) -> Service:
    """One service as `viewforge up` would start it.

    Args:
        name: one of NAMES.
        place: the installation's workspace.
        host: address to listen on; loopback when None. Workers and the store keep to loopback.
        port: of it, or where a worker tells its health; the usual one when None.
        limit: flow runs that a worker runs at once; the usual number when None.
        grace: seconds that a worker's runs have to stop when it is asked to end; GRACE_SECONDS when None.

    Raises:
        InputError: when it would be exposed without credentials, cannot run, or a worker knows no server.
        ParameterError: when the name is unknown or an option does not apply.
    """
    if name not in NAMES:
        raise ParameterError(f"there is no service {name}", f"choose one of {', '.join(NAMES)}")
    kind, _, pool = name.partition("-")
    if pool:
        _refuse(name, host=host)
        return _worker(pool, port, limit, grace)
    _refuse(name, limit=limit, grace=grace)
    if kind == "store":
        _refuse(name, host=host)
        return store_service(place, port or _STORE_PORT)
    if kind == "prefect":
        return prefect_service(host or _DEFAULTS.host, port or _DEFAULTS.prefect_port)
    return mlflow_service(place, host or _DEFAULTS.host, port or _DEFAULTS.mlflow_port)


def _refuse(name: str, **options: str | float | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise ParameterError(f"--{option} means nothing to {name}", "leave it out")


def _worker(pool: str, port: int | None, limit: int | None, grace: float | None) -> Service:
    missing = [name for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI") if not os.environ.get(name)]
    if missing:
        raise InputError(f"the worker knows no server: {missing[0]} is not set", "set it to the server's address")
    usual = {"cpu": _DEFAULTS.cpu_workers, "gpu": _DEFAULTS.gpu_workers}[pool]
    health = f"http://127.0.0.1:{port}/health" if port else None
    return worker_service(pool, limit or usual, {}, health=health, grace_seconds=grace or GRACE_SECONDS)


def become(service: Service) -> NoReturn:
    """Turn this process into the service: it keeps its id, and gets the signals itself."""
    os.execvpe(service.command[0], service.command, {**os.environ, **service.environment})  # noqa: S606 - ours
