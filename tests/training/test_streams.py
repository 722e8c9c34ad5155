"""Stores of shards: the right bytes from a folder, HTTP and S3, through cuts, stalls, refusals and lies; or one clear line."""

import pickle
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fault_server import (
    Fault,
    FaultServer,
    PassingTime,
    announcing,
    end_after,
    instead,
    redirect,
    reset_after,
    slowly,
    stall_after,
    status,
    whole,
)
from s3fs import S3FileSystem
from shard_sets import QUICK, ShardSet, shard_name, write_set

from stage.errors import InputError, ViewforgeError
from training.data.cache import ShardCache
from training.data.http_store import HttpStore
from training.data.index import INDEX
from training.data.reader import ShardReader
from training.data.samples import CheckedSamples
from training.data.shard_store import LocalStore, ShardStore, StreamError, StreamParameters
from training.data.streams import open_store

SHARD = shard_name(1)
PATH = f"/shards/{SHARD}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # Ours are tested.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Read only."""
    return write_set(tmp_path_factory.mktemp("streams") / "shards")


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def published(object_store: str, shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> str:
    """The set in a bucket."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    # It would still speak to the server of other tests.
    S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="sets")
    for path in shards.folder.iterdir():
        client.put_object(Bucket="sets", Key=f"deep/shards/{path.name}", Body=path.read_bytes())
    return "s3://sets/deep/shards"


@pytest.fixture(params=["folder", "file URL", "http", "http with a query", "s3", "memory"])
def store(request: pytest.FixtureRequest, shards: ShardSet) -> ShardStore:
    kind = request.param
    if kind == "folder":
        return open_store(shards.folder)
    if kind == "file URL":
        return open_store(shards.folder.as_uri())
    if kind == "s3":
        return open_store(request.getfixturevalue("published"), QUICK)
    if kind == "memory":
        import fsspec

        fsspec.filesystem("memory").put(str(shards.folder), "/sets/", recursive=True)
        return open_store("memory://sets/shards", QUICK)
    url = shards.serve(request.getfixturevalue("server"))
    return open_store(f"{url}/?signature=secret" if "query" in kind else url, QUICK)


def collected(store: ShardStore, name: str, start: int = 0, stop: int | None = None) -> bytes:
    data = bytearray()
    store.copy(name, data.extend, start, stop)
    return bytes(data)


def test_every_store_gives_the_same_rows_sizes_and_bytes(store: ShardStore, shards: ShardSet) -> None:
    assert store.index() == shards.rows
    data = shards.data(SHARD)
    assert store.size(SHARD) == len(data)
    assert collected(store, SHARD) == data
    assert store.read(SHARD, 100, 50) == data[100:150]
    assert store.read(SHARD, len(data) - 10, 50) == data[-10:], "fewer where the file ends"
    assert store.read(SHARD, len(data), 50) == store.read(SHARD, 5, 0) == b""
    assert store.read(SHARD, len(data) + 7, 50) == b""


def test_every_store_names_a_file_that_is_missing(store: ShardStore) -> None:
    for question in (lambda: store.size("no.tar"), lambda: store.read("no.tar", 0, 9)):
        with pytest.raises(InputError, match=r"no\.tar.*; (restore it with dvc pull|check the address)") as caught:
            question()
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_store_survives_pickling(store: ShardStore, shards: ShardSet) -> None:
    store.size(SHARD)
    assert pickle.loads(pickle.dumps(store)).read(SHARD, 3, 4) == shards.data(SHARD)[3:7]


def test_checked_samples_are_the_written_ones(store: ShardStore, shards: ShardSet) -> None:
    samples = CheckedSamples(store)
    assert [samples.read(row) for row in shards.rows] == [shards.piece(row) for row in shards.rows]


PASSING: dict[str, Fault] = {
    "reset": reset_after(700),
    "reset at once": reset_after(0),
    "closed early": end_after(700),
    "stalls": stall_after(700),
    "500": status(500),
    "503": status(503),
    "429": status(429, Retry_After="0"),
    "length too large": announcing(50_000),
    "length too small": announcing(100),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_asked_for_again(name: str, server: FaultServer, shards: ShardSet) -> None:
    store = open_store(shards.serve(server), QUICK)
    row = shards.rows[4]
    server.fail(PATH, PASSING[name], PASSING[name])
    assert store.read(SHARD, row.offset, row.size) == shards.piece(row)
    server.queues.clear()
    server.fail(PATH, PASSING[name])
    asked = len(server.asked(PATH))
    assert collected(store, SHARD) == shards.data(SHARD)
    assert len(server.asked(PATH)) == asked + 2


@pytest.mark.parametrize("name", ["reset", "closed early", "500", "length too large"])
def test_an_object_store_that_fails_is_asked_again(
    name: str, server: FaultServer, shards: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
    S3FileSystem.clear_instance_cache()
    shards.serve(server, Last_Modified="Sat, 21 Nov 2026 10:00:00 GMT")
    store = open_store("s3://shards", QUICK)
    server.fail(PATH, PASSING[name], PASSING[name])
    row = shards.rows[4]
    assert store.read(SHARD, row.offset, row.size) == shards.piece(row)
    assert len(server.asked(PATH)) >= 3
    server.fail(PATH, PASSING[name])
    assert collected(store, SHARD) == shards.data(SHARD)


@pytest.mark.parametrize("headers", [{}, {"etag": None}])
def test_a_cut_copy_goes_on_where_it_was(headers: dict[str, None], server: FaultServer, shards: ShardSet) -> None:
    url = shards.serve(server)
    if headers:
        server.serve(PATH, shards.data(SHARD), etag=None)
    server.fail(PATH, reset_after(8000), end_after(5000))
    assert collected(HttpStore(url, QUICK), SHARD) == shards.data(SHARD)
    assert [seen.headers.get("Range") for seen in server.asked(PATH)] == ["bytes=0-", "bytes=8000-", "bytes=13000-"]


def test_progress_forgives_earlier_failures(server: FaultServer) -> None:
    data = bytes(range(256)) * (9 << 12)  # 9 MiB
    url = server.serve("/big/a.tar", data).removesuffix("/a.tar")
    server.fail("/big/a.tar", *[reset_after(2 << 20)] * 3)
    assert collected(HttpStore(url, replace_attempts(2)), "a.tar") == data


def replace_attempts(attempts: int) -> StreamParameters:
    return QUICK.model_copy(update={"attempts": attempts})


def test_a_server_without_ranges_serves_too(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, *[whole] * 2, reset_after(9000), whole, whole)
    assert store.size(SHARD) == 30_000
    assert store.read(SHARD, 12_345, 1000) == shards.data(SHARD)[12_345:13_345]
    assert collected(store, SHARD) == shards.data(SHARD)


def test_two_versions_are_never_mixed(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)

    def changed(handler: object, _file: object) -> None:
        server.serve(PATH, b"x" * 30_000, etag='"second"')
        reset_after(8000)(handler, server.file(PATH))  # type: ignore[arg-type]

    server.fail(PATH, reset_after(500), changed)
    with pytest.raises(StreamError, match="has changed while it was read"):
        collected(store, SHARD)


def test_encoded_bytes_are_no_shard(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server, Content_Encoding="gzip"), QUICK)
    with pytest.raises(StreamError, match=f"{PATH} comes encoded although that was declined"):
        store.read(SHARD, 0, 10)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, StreamError), (401, StreamError), (403, StreamError), (404, InputError), (410, InputError)],
)
def test_a_refusal_is_final(code: int, kind: type[ViewforgeError], server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, status(code))
    with pytest.raises(kind, match=rf"{PATH} answers {code}.*; ") as caught:
        store.read(SHARD, 0, 10)
    assert len(server.asked(PATH)) == 1
    assert "\n" not in str(caught.value)


def test_a_lost_server_is_no_damaged_sample_also_beyond_a_process(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, *[status(503)] * 3)
    with pytest.raises(StreamError) as caught:
        CheckedSamples(store).read(shards.rows[4])
    assert not isinstance(caught.value, InputError), "a loader would put another sample in its place"
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (type(sent), str(sent), sent.passing) == (StreamError, str(caught.value), True)


def test_what_does_not_pass_ends_after_the_attempts(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, *[status(500)] * 9)
    with pytest.raises(StreamError, match=rf"{PATH} answers 500.*; check the network and run again"):
        store.read(SHARD, 0, 10)
    assert len(server.asked(PATH)) == 3


def test_waits_double_and_a_wait_that_is_asked_for_is_kept(
    server: FaultServer, shards: ShardSet, passing_time: PassingTime
) -> None:
    parameters = StreamParameters(attempts=6, first_wait_seconds=2.0, max_wait_seconds=11.0)
    store = HttpStore(shards.serve(server), parameters, passing_time.timing())
    server.fail(PATH, *[status(500)] * 3, status(503, Retry_After="7"), status(429, Retry_After="90"))
    store.read(SHARD, 0, 10)
    # The random half is nought.
    assert passing_time.slept == [1.0, 2.0, 4.0, 7.0, 11.0]


@pytest.fixture
def passing_time() -> PassingTime:
    return PassingTime()


def test_redirects_and_slow_servers_are_followed(server: FaultServer, shards: ShardSet) -> None:
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, redirect(f"/shards/{shard_name(1)}?again"), slowly(300, 0.01))
    assert store.read(SHARD, 10, 1000) == shards.data(SHARD)[10:1010]


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_server_that_is_not_there_is_one_line(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    S3FileSystem.clear_instance_cache()
    url = f"{address}/shards" if scheme == "http" else "s3://sets/shards"
    with pytest.raises(StreamError, match=rf"{url}/train.*; check the network and run again") as caught:
        open_store(url, replace_attempts(1)).read("train-000000.tar", 0, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense://place/shards", "http://[broken/shards"])
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(ViewforgeError, match="check the address") as caught:
        open_store(url, QUICK).index()
    assert "\n" not in str(caught.value)


def test_bytes_damaged_on_the_way_are_asked_for_again(server: FaultServer, shards: ShardSet) -> None:
    row = shards.rows[4]
    store = HttpStore(shards.serve(server), QUICK)
    server.fail(PATH, instead(bytes(30_000)))
    assert CheckedSamples(store).read(row) == shards.piece(row)
    assert len(server.asked(PATH)) == 2


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "flipped byte": lambda data: data[:10_500] + bytes([data[10_500] ^ 1]) + data[10_501:],
    "cut short": lambda data: data[:10_500],
    "ends before": lambda data: data[:9000],
    "another version": lambda data: data[::-1],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bytes_damaged_at_their_place_are_named(damage: str, server: FaultServer, shards: ShardSet) -> None:
    row = shards.rows[4]
    url = shards.serve(server)
    server.serve(PATH, DAMAGES[damage](shards.data(SHARD)))
    line = rf"{url}/{SHARD} is damaged at byte 10000, object key001001; the index is older"
    with pytest.raises(InputError, match=line) as caught:
        CheckedSamples(HttpStore(url, QUICK)).read(row)
    assert "\n" not in str(caught.value)


def test_a_stale_hash_is_named_at_once_on_a_disk(shards: ShardSet) -> None:
    stale = replace(shards.rows[4], sha256="0" * 64)
    with pytest.raises(InputError, match=rf"{SHARD} is damaged at byte 10000, object key001001; restore it"):
        CheckedSamples(LocalStore(shards.folder)).read(stale)


def test_a_damaged_index_names_its_address(server: FaultServer, shards: ShardSet) -> None:
    url = shards.serve(server)
    server.serve(f"/shards/{INDEX}", b"PAR1 but no more")
    with pytest.raises(InputError, match=rf"{url}/{INDEX} is damaged") as caught:
        HttpStore(url, QUICK).index()
    assert "\n" not in str(caught.value)


def test_a_missing_index_names_its_address(server: FaultServer) -> None:
    with pytest.raises(InputError, match=rf"/nowhere/{INDEX} answers 404 Not Found; check the address"):
        ShardReader(server.url("/nowhere"), "train", streams=QUICK)


def test_reader_gives_the_same_objects_from_everywhere(sharded: object, server: FaultServer, tmp_path: Path) -> None:
    folder: Path = sharded.shards  # type: ignore[attr-defined]
    local = ShardReader(folder, "train")
    for path in folder.iterdir():
        server.serve(f"/w/{path.name}", path.read_bytes())
    remote = ShardReader(server.url("/w"), "train", streams=QUICK)
    cached = ShardReader(server.url("/w"), "train", cache=ShardCache(tmp_path / "cache", 10**6), streams=QUICK)
    assert remote.rows == local.rows == cached.rows
    for number in range(len(local)):
        for other in (remote[number], cached[number]):
            assert other.uid == local[number].uid
            assert (other.rgba == local[number].rgba).all()
            assert (other.c2w == local[number].c2w).all()
