"""Index files: fetched once, read only when whole, and nothing broken is left behind."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_server import FaultServer, MakeClient, instead, reset_after, status
from publishers import gzipped, parquet

from catalog.http_errors import DownloadError
from catalog.index_files import IndexFiles
from stage.failures import FailureClass

VALUE = {f"uid{number}": f"glbs/000-000/uid{number}.glb" for number in range(500)}
ROWS = [{"fileIdentifier": f"page{number}", "sha256": "0" * 64} for number in range(1000)]
Make = Callable[..., IndexFiles]


@pytest.fixture
def index(tmp_path: Path, client: MakeClient) -> Make:
    return lambda: IndexFiles(tmp_path / "indexes", client())


def files(index: Make) -> list[Path]:
    return [path for path in index()._root.rglob("*") if path.is_file()]


def test_a_file_is_asked_for_once(server: FaultServer, index: Make) -> None:
    url = server.serve("/paths.json.gz", gzipped(VALUE))
    assert index().gzip_json(url) == VALUE
    assert index().gzip_json(url) == VALUE
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "damaged",
    [gzipped(VALUE)[:300], gzipped(VALUE)[:-4], b"<html>", b"", gzipped([1]), gzipped(VALUE)[:-8] + bytes(8)],
)
def test_what_cannot_be_read_is_fetched_again(damaged: bytes, server: FaultServer, index: Make) -> None:
    """The length that the server announces is that of the damaged file: only reading it shows."""
    url = server.serve("/paths.json.gz", gzipped(VALUE))
    server.fail("/paths.json.gz", instead(damaged))
    assert index().gzip_json(url) == VALUE
    assert len(server.seen) == 2
    assert len(files(index)) == 1


def test_a_file_that_was_damaged_since_is_fetched_again(server: FaultServer, index: Make) -> None:
    url = server.serve("/paths.json.gz", gzipped(VALUE))
    index().gzip_json(url)
    (path,) = files(index)
    path.write_bytes(path.read_bytes()[:100])
    assert index().gzip_json(url) == VALUE


def test_what_stays_damaged_is_an_error_and_leaves_nothing(server: FaultServer, index: Make) -> None:
    url = server.serve("/paths.json.gz", gzipped(VALUE)[:300])
    with pytest.raises(
        DownloadError, match=r"paths.json.gz is damaged: .*; run again later, or name another mirror"
    ) as caught:
        index().gzip_json(url)
    assert caught.value.failure is FailureClass.PARSE
    assert files(index) == []


def test_a_broken_connection_is_continued(server: FaultServer, index: Make) -> None:
    url = server.serve("/paths.json.gz", gzipped(VALUE))
    server.fail("/paths.json.gz", reset_after(200), status(503))
    assert index().gzip_json(url) == VALUE
    assert server.asked("/paths.json.gz")[-1].headers["Range"] == "bytes=200-"


def test_a_table_is_read_piece_by_piece(server: FaultServer, index: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.index_files._BATCH_ROWS", 100)
    url = server.serve("/t.parquet", parquet(ROWS))
    batches = index().batches(url, ["sha256", "fileIdentifier"])
    assert next(batches).num_rows == 100
    assert sum(batch.num_rows for batch in batches) == 900


def test_a_long_table_does_not_end_up_in_memory(
    server: FaultServer, index: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.index_files._BATCH_ROWS", 400)
    path, rows = tmp_path / "long.parquet", 400
    column = pa.array([os.urandom(2500).hex() for _ in range(rows)])
    with pq.ParquetWriter(
        path, pa.schema([("text", pa.string())]), compression="none", use_dictionary=False
    ) as writer:
        for _ in range(40):
            writer.write_table(pa.table({"text": column}))
    url = server.serve("/long.parquet", path.read_bytes())
    before = pa.total_allocated_bytes()
    most, read = 0, 0
    for batch in index().batches(url, ["text"]):
        read += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert read == 40 * rows
    assert path.stat().st_size > 80e6
    assert most < 20e6


def test_a_truncated_table_is_fetched_again(server: FaultServer, index: Make) -> None:
    url = server.serve("/t.parquet", parquet(ROWS))
    server.fail("/t.parquet", instead(parquet(ROWS)[:-20]))
    assert sum(batch.num_rows for batch in index().batches(url, ["sha256"])) == 1000


def test_a_table_that_is_damaged_inside_is_thrown_away(server: FaultServer, index: Make) -> None:
    data = parquet(ROWS)
    url = server.serve("/t.parquet", bytes(1000) + data[1000:])
    with pytest.raises(DownloadError, match=r"t.parquet is damaged"):
        list(index().batches(url, ["fileIdentifier"]))
    assert files(index) == []


def test_a_table_without_a_column_says_which(server: FaultServer, index: Make) -> None:
    url = server.serve("/t.parquet", parquet(ROWS))
    with pytest.raises(DownloadError, match=r"t.parquet is damaged: it has no column license"):
        list(index().batches(url, ["fileIdentifier", "license"]))


def test_many_files_come_at_once_and_one_that_is_missing_says_so(server: FaultServer, index: Make) -> None:
    urls = [server.serve(f"/{number}.json.gz", gzipped({"number": number})) for number in range(10)]
    index().fetch(urls, 4, "test")
    assert [index().gzip_json(url)["number"] for url in urls] == list(range(10))
    assert len(server.seen) == 10
    with pytest.raises(DownloadError, match=r"/none.json.gz answers 404") as caught:
        index().fetch([server.url("/none.json.gz")], 4, "test")
    assert caught.value.failure is FailureClass.MISSING
