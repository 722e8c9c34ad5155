"""What is refused before anything is copied, and that rows are compared by value."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from tiny_pipeline import Viewforge

from services.database_rows import Contents, JsonText, added, as_kept, contents_of
from services.database_target import address
from services.sqlite_snapshot import snapshot
from stage.errors import InputError

KEPT = as_kept(
    sqlalchemy.Table(
        "run",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", postgresql.UUID()),
        sqlalchemy.Column("start", postgresql.TIMESTAMP(timezone=True)),
        sqlalchemy.Column("took", postgresql.INTERVAL()),
        sqlalchemy.Column("active", postgresql.BOOLEAN()),
        sqlalchemy.Column("parameters", postgresql.JSONB()),
        sqlalchemy.Column("end", postgresql.BIGINT(), sqlalchemy.Computed("1 + 1")),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def database(folder: Path, *statements: str) -> Path:
    path = folder / "some.db"
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def digest(**row: object) -> Contents:
    table = sqlalchemy.Table(
        "t", sqlalchemy.MetaData(), sqlalchemy.Column("json", JsonText()), sqlalchemy.Column("plain", sqlalchemy.Text)
    )
    return added(Contents(), table, [row])


@pytest.mark.parametrize(
    ("target", "fragment"),
    [
        ("prefect", "no address of a database"),
        ("sqlite:///prefect.db", "no address of a PostgreSQL database"),
        ("postgresql://viewforge@db", "no address of a PostgreSQL database"),
        ("postgresql://viewforge:canary@db/prefect", "PGPASSFILE"),
        ("postgresql://viewforge@db/prefect?password=canary", "PGPASSFILE"),
    ],
)
def test_addresses_that_are_refused(target: str, fragment: str) -> None:
    with pytest.raises(InputError, match=fragment) as refusal:
        address(target)
    assert "canary" not in f"{refusal.value}"


def test_a_socket_is_an_address() -> None:
    url = address("postgresql:///prefect?host=/run/postgresql")
    assert (url.database, url.query["host"]) == ("prefect", "/run/postgresql")


def test_kept_values_are_read_as_what_they_are(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        "CREATE TABLE run (id CHAR(36), start DATETIME, took DATETIME, active BOOLEAN, parameters JSON, end INTEGER)",
        "INSERT INTO run VALUES ('6f1c0c4e-58c5-4a5e-9f0f-2f6f0f1d7a11', '2026-11-22 15:00:00.250000',"
        " '1970-01-01 00:01:30.500000', 1, 'null', 2)",
    )
    with sqlalchemy.create_engine(f"sqlite:///{path}").connect() as connection:
        [row] = connection.execute(sqlalchemy.select(KEPT)).mappings()
    assert dict(row) == {
        "id": UUID("6f1c0c4e-58c5-4a5e-9f0f-2f6f0f1d7a11"),
        "start": datetime(2026, 11, 22, 15, 0, 0, 250000, UTC),
        "took": timedelta(seconds=90.5),
        "active": True,
        "parameters": "null",
    }


@settings(deadline=None)
@given(st.lists(st.tuples(JSON, st.text() | st.none()), max_size=5), st.randoms())
def test_a_digest_knows_neither_order_nor_spelling(rows: list[tuple[object, str | None]], random) -> None:
    table = sqlalchemy.Table(
        "t", sqlalchemy.MetaData(), sqlalchemy.Column("json", JsonText()), sqlalchemy.Column("plain")
    )
    one = [{"json": json.dumps(value), "plain": text} for value, text in rows]
    other = [{"plain": text, "json": json.dumps(value, indent=1, sort_keys=True)} for value, text in rows]
    random.shuffle(other)
    assert added(Contents(), table, one) == added(Contents(), table, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"json": "1"}, {"json": '"1"'}),
        ({"json": "null"}, {"json": None}),
        ({"json": "[1, 2]"}, {"json": "[2, 1]"}),
        ({"json": "1.0000000000000002"}, {"json": "1"}),
        ({"plain": "1"}, {"plain": "1 "}),
        ({"plain": None}, {"plain": "None"}),
        ({"plain": 1.5}, {"plain": 1.25}),
    ],
)
def test_other_values_have_other_digests(one: dict[str, object], other: dict[str, object]) -> None:
    assert digest(**one) != digest(**other)


def test_equal_numbers_of_json_are_equal() -> None:
    assert digest(json="[1e16, 0.0, NaN]") == digest(json="[10000000000000000, -0.0, null]")


def test_contents_are_counted(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (a TEXT)", "INSERT INTO t VALUES ('x'), ('x'), ('y')")
    table = sqlalchemy.Table("t", sqlalchemy.MetaData(), sqlalchemy.Column("a", sqlalchemy.Text))
    with sqlalchemy.create_engine(f"sqlite:///{path}").connect() as connection:
        assert contents_of(connection, table).rows == 3


def test_a_snapshot_has_what_only_the_log_has(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = wal")
    writer.execute("CREATE TABLE t (a)")
    writer.commit()
    with snapshot(path) as taken:
        reader = sqlite3.connect(taken.copy)
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
        reader.close()
        taken.check_last()
    writer.close()
    assert not taken.copy.exists()


def test_what_is_written_while_it_is_copied_is_not_left_behind(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (a)")
    with snapshot(path) as taken:
        taken.check_last()
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(InputError, match="was written to while it was copied"):
            taken.check_last()


@pytest.mark.parametrize(("mode", "beside"), [("delete", "journal"), ("wal", "wal")])
def test_what_a_killed_server_leaves_is_no_damage(mode: str, beside: str, tmp_path: Path) -> None:
    """MLflow keeps a journal, Prefect a log; with either a transaction counts wholly or not at all."""
    path = database(
        tmp_path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (a TEXT)", "INSERT INTO t VALUES ('old')"
    )
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA cache_size = 1');"
        "c.execute(\"INSERT INTO t VALUES ('new')\"); c.commit();"
        "c.execute(\"UPDATE t SET a = printf('%.9000c', 'x')\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=False)
    assert path.with_name(f"some.db-{beside}").stat().st_size > 0
    with snapshot(path) as taken, closing(sqlite3.connect(taken.copy)) as reader:
        assert reader.execute("SELECT a FROM t").fetchall() == [("old",), ("new",)]
        taken.check_last()


def test_a_database_in_use_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (a)")
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with pytest.raises(InputError, match=f"open in process {server.pid}"), snapshot(path):
            pass
        server.communicate(b"\n")


def test_what_is_no_sound_database_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (a TEXT)", *[f"INSERT INTO t VALUES ('{'x' * 500}')"] * 64)
    whole = path.read_bytes()
    for content, fragment in (
        (b"text", "no SQLite database"),
        (whole[:8192] + b"\xff" * (len(whole) - 8192), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=fragment), snapshot(path):
            pass
    path.unlink()
    with pytest.raises(InputError, match="no database"), snapshot(path):
        pass


def test_a_row_without_its_parent_is_named(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        "CREATE TABLE runs (id INTEGER PRIMARY KEY)",
        "CREATE TABLE tags (run INTEGER REFERENCES runs (id))",
        "INSERT INTO tags VALUES (7)",
    )
    with pytest.raises(InputError, match=r"row 1 of table tags .* refers to a row of runs"), snapshot(path):
        pass


def test_json_that_postgresql_refuses_becomes_null() -> None:
    kept, other = '{"NaN":  [1.0, "Infinity"]}', '{"a": [NaN, -Infinity, 1.5]}'
    written = [JsonText().process_bind_param(text, postgresql.dialect()) for text in (kept, other, None)]
    assert [json.loads(text) for text in written if text] == [
        {"NaN": [1.0, "Infinity"]},
        {"a": [None, None, 1.5]},
    ]
    assert written[2] is None


def test_a_mistake_is_one_line(viewforge: Viewforge, tmp_path: Path) -> None:
    answer = viewforge("database", "copy", tmp_path / "absent.db", "postgresql://viewforge@127.0.0.1/prefect")
    assert answer.returncode == 1
    [line] = answer.stderr.splitlines()
    assert line.startswith(f"viewforge: there is no database {tmp_path / 'absent.db'}; give the file")
