"""What keeps its records in a database: Prefect's server, MLflow's server, MLflow's basic authentication.

Each brings its own schema (alembic migrations) and its own command that makes or upgrades one; both are used as they are.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy
from alembic.script import ScriptDirectory

from stage.errors import InputError, StageFailedError

_LAST_LINES = 3


@dataclass(frozen=True)
class Kind:
    """One of them."""

    name: str
    marker: str
    """A table that it alone has."""
    version_table: str
    """Where alembic keeps the revision of the schema."""
    migrations: str
    """Folder of its migrations, below its package."""
    by_dialect: bool
    """Whether each database system has migrations of its own, so that equal schemas have different revisions."""
    seeded: tuple[str, ...] = ()
    """Tables in which a new schema has one row already."""

    @property
    def package(self) -> str:
        """The Python package that it comes with."""
        return self.migrations.partition("/")[0]

    def head(self, dialect: str) -> str:
        """The revision of the installed version's schema in a database system, `sqlite` or `postgresql`."""
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise InputError(f"{self.package} is not installed", f"pip install {self.package}")
        folder = Path(spec.origin).parents[1] / self.migrations
        places = [str(folder / "versions" / dialect)] if self.by_dialect else None
        return str(ScriptDirectory(str(folder), version_locations=places).get_current_head())

    def upgrade(self, url: sqlalchemy.URL) -> None:
        """Make the schema of the installed version in a PostgreSQL database, or bring an older one up to it, by its own command.

        Raises:
            StageFailedError: with the command's last lines.
        """
        command, environment = self._upgrading(url)
        answer = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if answer.returncode:
            said = " | ".join((answer.stderr or answer.stdout).strip().splitlines()[-_LAST_LINES:])
            raise StageFailedError(f"{self.name} could not make its tables in {shown(url)}: {said}", "mend that")

    def _upgrading(self, url: sqlalchemy.URL) -> tuple[list[str], dict[str, str]]:
        """The command and what it needs in its environment; passwords come from libpq's variables, which both drivers read."""
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        python = [sys.executable, "-m"]
        if self.name == "prefect":
            place = url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
            return [*python, "prefect", "server", "database", "upgrade", "-y"], {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": place,
                # Under its older name it would win.
                "PREFECT_API_DATABASE_CONNECTION_URL": place,
            }
        if self.name == "mlflow":
            return [*python, "mlflow", "db", "upgrade", plain], {}
        return [*python, "mlflow.server.auth", "db", "upgrade", "--url", plain], {}


KINDS = (
    Kind("prefect", "flow_run", "alembic_version", "prefect/server/database/_migrations", by_dialect=True),
    Kind("mlflow", "experiments", "alembic_version", "mlflow/store/db_migrations", False, seeded=("workspaces",)),
    Kind("mlflow-auth", "users", "alembic_version_auth", "mlflow/server/auth/db/migrations", by_dialect=False),
)


def shown(url: sqlalchemy.URL) -> str:
    """An address as a message may show it: without its password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def kinds_of(engine: sqlalchemy.Engine) -> list[Kind]:
    """Whose tables a database has."""
    tables = sqlalchemy.inspect(engine).get_table_names()
    return [kind for kind in KINDS if kind.marker in tables]


def revision(engine: sqlalchemy.Engine, kind: Kind) -> str | None:
    """The revision of a kind's schema in a database; None where there is none."""
    if not sqlalchemy.inspect(engine).has_table(kind.version_table):
        return None
    table = sqlalchemy.table(kind.version_table, sqlalchemy.column("version_num"))
    with engine.connect() as connection:
        return connection.scalar(sqlalchemy.select(table.c.version_num))


def check_revision(engine: sqlalchemy.Engine, kind: Kind, place: Path) -> None:
    """Refuse a database whose schema is not the installed version's.

    Raises:
        InputError: naming both revisions and what upgrades the older one.
    """
    found, wanted = revision(engine, kind), kind.head(engine.dialect.name)
    if found != wanted:
        upgrade = {
            "prefect": "prefect server database upgrade",
            "mlflow": f"mlflow db upgrade sqlite:///{place}",
            "mlflow-auth": f"python -m mlflow.server.auth db upgrade --url sqlite:///{place}",
        }[kind.name]
        raise InputError(
            f"{place} has {kind.name}'s tables at revision {found}, the installed {kind.package} is at {wanted}",
            f"upgrade it first, from a backup: {upgrade}; or install the {kind.package} that wrote it",
        )
