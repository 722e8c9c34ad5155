"""Ports of this machine: whether one is free, and who has it."""

import errno
import socket

import psutil

from stage.errors import InputError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now.

    Raises:
        OSError: when none could for another reason than that the port is taken.
    """
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def check_free(service: str, host: str, port: int, option: str) -> None:
    """Refuse a port that is taken.

    Args:
        service: what would listen.
        host: address to listen on.
        port: of it.
        option: by which another port is chosen.

    Raises:
        InputError: with the process that has it, where the system tells.
    """
    try:
        free = is_free(host, port)
    except OSError as error:
        raise InputError(
            f"{service} cannot listen on {host}:{port}: {error.strerror}", f"see --host and {option}"
        ) from None
    if not free:
        raise InputError(f"port {port} for {service} is taken{_by(port)}", f"choose another with {option}")


def _by(port: int) -> str:
    if (pid := holder(port)) is None:
        return ""
    try:
        return f" by process {pid} ({' '.join(psutil.Process(pid).cmdline())[:80]})"
    except psutil.Error:
        return f" by process {pid}"


def holder(port: int) -> int | None:
    """The process that listens on a port; None where there is none or the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listening = (each for each in connections if each.status == psutil.CONN_LISTEN)
    return next((each.pid for each in listening if each.laddr and each.laddr.port == port), None)


def any_free(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
