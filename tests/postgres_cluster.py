"""A PostgreSQL cluster of a test's own: on loopback, in a temporary folder, gone afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from prefect_server import free_port

PASSWORD = "p@ss/w:rd %41"  # characters that an address would have to quote
USER = "viewforge"
_SUPERUSER = "postgres"
# What initdb refuses to run as.
_ROOT = 0


@dataclass(frozen=True)
class Cluster:
    """A running one."""

    port: int

    def database(self, name: str) -> str:
        """A new database that a user without privileges owns; its address, without the password."""
        self.run("postgres", f'CREATE DATABASE "{name}" OWNER {USER}')
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def run(self, database: str, statement: str, user: str = _SUPERUSER) -> list[tuple[object, ...]]:
        """The rows that a statement gives."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=user, password=PASSWORD, dbname=database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def programs() -> Path | None:
    """Folder of initdb and pg_ctl; Debian keeps them off the path."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))


@contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """A cluster with a user USER and PASSWORD; the test is skipped where PostgreSQL is not installed."""
    if (binaries := programs()) is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    # Not below pytest's folders, which are closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="viewforge-postgres-"))
    (folder / "password").write_text(PASSWORD)
    port, data = free_port(), folder / "data"
    identity = _unprivileged(folder)
    try:
        _run(
            identity, binaries / "initdb", f"--pgdata={data}", f"--username={_SUPERUSER}", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--no-sync", "--no-locale", "--encoding=UTF8",
        )  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = (identity, binaries / "pg_ctl", f"--pgdata={data}", "--wait", f"--log={folder / 'log'}")
        _run(*control, f"--options={options}", "start")
        try:
            cluster = Cluster(port)
            quoted = PASSWORD.replace("'", "''")
            cluster.run("postgres", f"CREATE ROLE {USER} LOGIN PASSWORD '{quoted}'")
            yield cluster
        finally:
            _run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _unprivileged(folder: Path) -> str | None:
    """The user that PostgreSQL runs as, who owns the folder from now on; None when it is this one."""
    if os.getuid() != _ROOT:
        return None
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "nobody")
    return "nobody"


def _run(user: str | None, *command: object) -> None:
    subprocess.run(
        [str(part) for part in command], user=user, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120
    )
