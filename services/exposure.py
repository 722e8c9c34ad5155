"""What may listen beyond loopback, and where its credentials come from: the environment, or a file that only its owner reads.

    export MLFLOW_AUTH_ADMIN_PASSWORD=…                       # the value itself, or
    export MLFLOW_AUTH_ADMIN_PASSWORD_FILE=/run/secrets/…     # a file of mode 0600 that holds it

TLS is the reverse proxy's (docs/mlflow-server.md).
"""

import ipaddress
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from stage.errors import InputError, ParameterError

MLFLOW_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
PREFECT_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
SHORTEST_SECRET = 12
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What older versions shipped and what documentation shows: the first that is tried.
_KNOWN = {"password1234", "admin:password1234", "admin:pass", "admin:password"}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may be anything and is not.

    Args:
        host: name or address, of IPv6 also in brackets.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def secret_of(variable: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The value of a variable, or the content of the file that `<variable>_FILE` names; None where neither is set.

    Args:
        variable: its name.
        environment: the process's own when None.

    Raises:
        InputError: when the file is missing or empty, or others may read it.
    """
    environment = os.environ if environment is None else environment
    if value := environment.get(variable):
        return value
    name = environment.get(f"{variable}_FILE")
    return _content(Path(name), f"{variable}_FILE") if name else None


def _content(path: Path, variable: str) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{variable}: {path} cannot be read ({type(error).__name__})", "mend it or unset it"
        ) from None
    if mode & _OTHERS:
        raise InputError(f"{variable}: others may read {path}", f"chmod 600 {path}")
    if not text:
        raise InputError(f"{variable}: {path} is empty", "write the secret into it")
    return text


def refuse_exposed(service: str, host: str, variable: str, environment: Mapping[str, str] | None = None) -> None:
    """Refuse to listen beyond loopback without credentials, or with some that everybody knows.

    Args:
        service: what would listen, by its name.
        host: where.
        variable: which holds its credentials, itself or as `<variable>_FILE`.
        environment: the process's own when None.

    Raises:
        InputError: with the variable to set.
        ParameterError: when the secret is too short or a known one; it is not repeated.
    """
    if is_loopback(host):
        return
    secret = secret_of(variable, environment)
    if secret is None:
        raise InputError(
            f"{service} would listen on {host}, beyond this machine, without credentials",
            f"set {variable}, or {variable}_FILE to a file of mode 0600, or keep to 127.0.0.1",
        )
    check_secret(variable, secret)


def check_secret(variable: str, secret: str) -> None:
    """Refuse a secret that is short or known.

    Raises:
        ParameterError: naming the variable, without the secret.
    """
    if secret.lower() in _KNOWN or len(secret.rpartition(":")[2]) < SHORTEST_SECRET:
        raise ParameterError(
            f"{variable} is a known secret or has fewer than {SHORTEST_SECRET} characters", "choose another"
        )
