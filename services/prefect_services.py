"""Prefect's server and its workers as services."""

import os
import sys
from urllib.parse import urlsplit

from services.exposure import PREFECT_AUTH, is_loopback, refuse_exposed, secret_of
from services.patience import RUN_SECONDS
from services.ports import any_free
from services.service import Service

POOLS = ("cpu", "gpu")
_CLIENT_AUTH = "PREFECT_API_AUTH_STRING"
# In memory, as by default, leases of slots are lost with the server: they stay taken then, and what runs with one is ended.
_LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - told apart, not bound


def address_of(host: str, port: int) -> str:
    """Where this machine reaches what listens on a host: on its loopback address when that is every address."""
    bare = host.strip("[]")
    reached = _ANYWHERE.get(bare, f"[{bare}]" if ":" in bare else bare)
    return f"http://{reached}:{port}"


def client_environment(host: str, port: int) -> dict[str, str]:
    """What a client on this machine needs to know of the server."""
    secret = os.environ.get(_CLIENT_AUTH) or secret_of(PREFECT_AUTH)
    return {"PREFECT_API_URL": f"{address_of(host, port)}/api", **({_CLIENT_AUTH: secret} if secret else {})}


def prefect_service(host: str, port: int) -> Service:
    """The server: API, page and scheduler.

    Its database is SQLite in `PREFECT_HOME`, or what `PREFECT_SERVER_DATABASE_CONNECTION_URL` names; who holds slots is in
    `PREFECT_HOME/concurrency_leases`.

    Args:
        host: address to listen on.
        port: of it.

    Raises:
        InputError: when it would be exposed without credentials.
        ParameterError: when these will not do.
    """
    refuse_exposed("Prefect", host, PREFECT_AUTH)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host.strip("[]"), "--port", str(port)]
    kept = {name: os.environ.get(name, value) for name, value in _LEASES.items()}
    environment = {**client_environment(host, port), **kept}
    if secret := secret_of(PREFECT_AUTH):
        environment[PREFECT_AUTH] = secret
    if not is_loopback(host) and "PREFECT_UI_API_URL" not in os.environ:
        # The page runs in a browser elsewhere, for which this machine's loopback address is another machine's.
        environment["PREFECT_UI_API_URL"] = "/api"
    address = address_of(host, port)
    return Service("prefect", command, environment, address, f"{address}/api/health")


def worker_service(
    pool: str, limit: int, environment: dict[str, str], health: str | None = None, grace_seconds: float = RUN_SECONDS
) -> Service:
    """A worker of a work pool.

    It answers on loopback whether it still asks for work.

    Args:
        pool: the work pool, of type process.
        limit: flow runs at once.
        environment: by which it and its flow runs know the servers.
        health: the URL where it answers; on a free port of loopback when None.
        grace_seconds: what its flow runs get for stopping when it is asked to end.
    """
    health = health or f"http://127.0.0.1:{any_free()}/health"
    command = [sys.executable, "-m", "flows.worker", "--pool", pool, "--limit", str(limit)]
    command += ["--with-healthcheck", "--grace-seconds", f"{grace_seconds:.0f}"]
    variables = {
        **environment,
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(urlsplit(health).port),
    }
    return Service(f"worker-{pool}", command, variables, None, health)
