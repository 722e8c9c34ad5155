"""Many downloads at once: every object has its outcome, nothing is asked for twice, and one host's pause is everybody's."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, MakeClient, instead, slowly, status

from catalog.download_parameters import DownloadParameters
from catalog.downloads import Request, Task, each, fetch_all
from catalog.http_client import HttpClient
from catalog.object_store import ObjectStore
from stage.errors import StageFailedError
from stage.failures import FailureClass, Outcome
from stage.progress import PROGRESS_VARIABLE

PARAMETERS = DownloadParameters(workers=4, attempts=3)


def content(number: int) -> bytes:
    return f"object {number} ".encode() * 50


def sha256(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


def serve(server: FaultServer, count: int, *, published: bool = True) -> list[Request]:
    return [
        Request(f"uid{n}", server.serve(f"/{n}.glb", content(n)), sha256(n) if published else None, None, "glb")
        for n in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


def fetch(requests: list[Request], store: ObjectStore, client: HttpClient) -> dict[str, Outcome]:
    return {outcome.uid: outcome for outcome in fetch_all(requests, store, client, PARAMETERS)}


@pytest.mark.parametrize("published", [True, False])
def test_all_arrive_and_a_second_run_asks_nobody(
    published: bool, server: FaultServer, client: MakeClient, store: ObjectStore
) -> None:
    requests = serve(server, 20, published=published)
    outcomes = fetch(requests, store, client())
    assert len(outcomes) == 20
    assert outcomes["uid7"].result == {
        "sha256": sha256(7),
        "bytes": len(content(7)),
        "path": f"{sha256(7)[:2]}/{sha256(7)}.glb",
        "fetched": True,
    }
    assert all(store.verify(sha256(n), "glb") for n in range(20))
    assert len(server.seen) == 20
    again = fetch(requests, ObjectStore(store.root), client())
    assert len(server.seen) == 20
    assert [outcome.result["fetched"] for outcome in again.values()] == [False] * 20
    assert again["uid7"].result["path"] == outcomes["uid7"].result["path"]


def test_what_was_removed_is_fetched_again(server: FaultServer, client: MakeClient, store: ObjectStore) -> None:
    requests = serve(server, 3, published=False)
    fetch(requests, store, client())
    store.path(sha256(1), "glb").unlink()
    outcomes = fetch(requests, store, client())
    assert [outcomes[f"uid{n}"].result["fetched"] for n in range(3)] == [False, True, False]


def test_bad_objects_are_rows_and_stop_nobody(server: FaultServer, client: MakeClient, store: ObjectStore) -> None:
    requests = serve(server, 10)
    server.fail("/1.glb", status(404))
    server.fail("/2.glb", *[status(503)] * 9)
    server.fail("/3.glb", *[instead(b"something else")] * 9)
    requests += [
        Request("no-hash", server.url("/0.glb"), "../../x"),
        Request("no-url", "://", None, None, "glb"),
        Request("large", server.serve("/large", bytes(5000)), None),
    ]
    parameters = DownloadParameters(workers=4, attempts=3, max_bytes=4000)
    outcomes = {o.uid: o for o in fetch_all(requests, store, client(attempts=3), parameters)}
    failures = {uid: outcome.failure for uid, outcome in outcomes.items() if not outcome.ok}
    assert failures == {
        "uid1": FailureClass.MISSING,
        "uid2": FailureClass.DOWNLOAD,
        "uid3": FailureClass.CHECKSUM,
        "no-hash": FailureClass.PARSE,
        "no-url": FailureClass.DOWNLOAD,
        "large": FailureClass.UNSAFE,
    }
    assert len(outcomes) == 13
    assert all("\n" not in outcome.message for outcome in outcomes.values())
    assert json.dumps(outcomes["uid1"].row())
    # In the next run what was missing or unreachable is tried again, and succeeds here.
    assert fetch(requests[:3], store, client())["uid1"].result["fetched"]


def test_the_same_bytes_under_two_uids_are_asked_for_once(
    server: FaultServer, client: MakeClient, store: ObjectStore
) -> None:
    (request,) = serve(server, 1)
    server.fail("/0.glb", slowly(100, 0.02))
    outcomes = fetch([request, Request("twin", request.url, request.sha256, None, "glb")], store, client())
    assert [outcome.ok for outcome in outcomes.values()] == [True, True]
    assert len(server.seen) == 1


def test_the_same_url_twice_without_a_hash_is_stored_once(
    server: FaultServer, client: MakeClient, store: ObjectStore
) -> None:
    (request,) = serve(server, 1, published=False)
    server.fail("/0.glb", slowly(100, 0.02))
    twins = [Request(f"twin{n}", request.url, None, None, "glb") for n in range(6)]
    assert [outcome.failure for outcome in fetch(twins, store, client()).values()] == [None] * 6
    assert len(list(store.root.rglob("*.glb"))) == 1


def test_a_list_of_millions_is_read_as_it_is_worked_on(
    server: FaultServer, client: MakeClient, store: ObjectStore
) -> None:
    read = 0

    def endless() -> Iterator[Request]:
        nonlocal read
        while True:
            read += 1
            yield Request(f"uid{read}", server.url("/none"))

    outcomes = fetch_all(endless(), store, client(), PARAMETERS, total=1_000_000)
    for _ in range(5):
        next(outcomes)
    assert read <= 5 + 2 * PARAMETERS.workers
    outcomes.close()  # type: ignore[attr-defined]


def test_no_more_than_the_workers_ask_at_once(server: FaultServer, client: MakeClient, store: ObjectStore) -> None:
    requests = serve(server, 12)
    running, most, lock = 0, 0, threading.Lock()

    def counted(handler, file) -> None:  # type: ignore[no-untyped-def]
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        slowly(200, 0.02)(handler, file)
        with lock:
            running -= 1

    for n in range(12):
        server.fail(f"/{n}.glb", counted)
    fetch(requests, store, client())
    assert 2 <= most <= 4


def test_when_one_worker_is_told_to_wait_the_others_wait_too(
    server: FaultServer, store: ObjectStore, client: MakeClient
) -> None:
    requests = serve(server, 30)
    server.fail("/0.glb", status(429, RateLimit='"resolvers";r=0;t=1'))
    client()  # for its environment; here time must pass by itself
    with HttpClient(PARAMETERS) as real:
        assert all(outcome.ok for outcome in fetch(requests, store, real).values())
    told = server.asked("/0.glb")[0].at
    early = [seen for seen in server.seen if told < seen.at < told + 0.95]
    assert len(early) <= 2 * PARAMETERS.workers, "those that were under way, and no further ones"
    assert len(server.seen) == 31


def test_progress_counts_what_is_done_and_what_failed(
    server: FaultServer, client: MakeClient, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress"))
    requests = [*serve(server, 3), Request("bad", server.url("/none"))]
    fetch(requests, store, client())
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", *["advance"] * 4, "end"]
    assert (lines[-2]["done"], lines[-2]["total"], lines[-2]["failed"]) == (4, 4, 1)


def test_a_consumer_that_stops_early_ends_what_is_running(
    server: FaultServer, client: MakeClient, store: ObjectStore
) -> None:
    requests = serve(server, 20)
    for n in range(1, 20):
        server.fail(f"/{n}.glb", slowly(10, 0.1))
    outcomes = fetch_all(requests, store, client(), PARAMETERS)
    assert next(outcomes).uid == "uid0"
    started = time.monotonic()
    outcomes.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 3, "each would take more than four seconds"
    asked = len(server.seen)
    time.sleep(0.3)
    assert len(server.seen) == asked <= 1 + PARAMETERS.workers


def test_an_error_nobody_thought_of_is_an_outcome_with_its_trace() -> None:
    def broken(_stop: threading.Event) -> dict[str, object]:
        raise LookupError("two\nlines")

    (outcome,) = each([Task("uid", broken)], workers=1, stage="test", total=1)
    assert (outcome.failure, outcome.message) == (FailureClass.ERROR, "two lines")
    assert "in broken" in outcome.stderr_tail


_FULL = """
    import resource, signal, sys
    from pathlib import Path
    from catalog.download_parameters import DownloadParameters
    from catalog.downloads import Request, fetch_all
    from catalog.http_client import HttpClient
    from catalog.object_store import ObjectStore
    from stage.errors import StageFailedError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    parameters = DownloadParameters(workers=2)
    try:
        with HttpClient(parameters) as client:
            for _ in fetch_all([Request(u, u) for u in sys.argv[2:]], ObjectStore(Path(sys.argv[1])), client, parameters):
                pass
    except StageFailedError as error:
        print(error)
"""


def test_a_full_disk_ends_the_stage(server: FaultServer, store: ObjectStore) -> None:
    urls = [server.serve(f"/{n}", bytes(5000)) for n in range(8)]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FULL), str(store.root), *urls],
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("no space left on the disk while working on http://127.0.0.1")
    assert result.stdout.rstrip().endswith("free some space and run again: finished objects are kept")
    assert result.stdout.count("\n") == 1
    assert len(server.seen) < 8


def test_a_full_disk_in_any_task_ends_the_stage() -> None:
    def full(_stop: threading.Event) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    with pytest.raises(StageFailedError, match="no space left on the disk while working on uid"):
        list(each([Task("uid", full)], workers=1, stage="test", total=1))
