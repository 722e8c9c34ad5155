"""Downloads that are whole, checked or absent: broken off, killed, changed underneath, and two at the same file."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from fault_server import (
    FaultServer,
    MakeClient,
    PassingTime,
    end_after,
    instead,
    reset_after,
    slowly,
    stall_after,
    status,
    whole,
)

from catalog.http_errors import DownloadError
from catalog.part_file import claimed, part_path
from stage.failures import FailureClass

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = DATA[::-1]
PATH = "/a.glb"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ranges(server: FaultServer) -> list[str | None]:
    return [seen.headers.get("Range") for seen in server.asked(PATH)]


def sent(server: FaultServer) -> list[int]:
    return [seen.sent for seen in server.asked(PATH)]


@pytest.fixture
def url(server: FaultServer) -> str:
    return server.serve(PATH, DATA)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "store" / "a.glb"


def wait_for_bytes(part: Path, count: int) -> None:
    """Wait until so many bytes have come, or for 20 s."""
    deadline = time.monotonic() + 20
    while (not part.exists() or part.stat().st_size < count) and time.monotonic() < deadline:
        time.sleep(0.02)


def leave_part(server: FaultServer, client: MakeClient, target: Path, count: int) -> None:
    """What an attempt leaves that broke off after `count` bytes."""
    server.fail(PATH, reset_after(count))
    with pytest.raises(DownloadError):
        client(attempts=1).download(server.url(PATH), target)
    assert part_path(target).stat().st_size == count
    server.seen.clear()


def test_a_file_arrives_under_its_name_alone(url: str, client: MakeClient, target: Path) -> None:
    found = client().download(url, target, sha256=SHA256.upper(), size=len(DATA))
    assert (found.sha256, found.bytes, found.version, found.fetched) == (SHA256, len(DATA), '"first"', True)
    assert target.read_bytes() == DATA
    assert names(target.parent) == ["a.glb"]


def test_a_file_that_is_there_is_not_asked_for(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    client().download(url, target)
    assert not client().download(url, target, sha256=SHA256, size=len(DATA)).fetched
    assert len(server.asked(PATH)) == 1
    target.write_bytes(OTHER)
    assert client().download(url, target, sha256=SHA256).fetched, "a damaged one is replaced"
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("fault", [reset_after, end_after, stall_after])
@pytest.mark.parametrize("published", [SHA256, None])
def test_a_break_in_mid_file_is_continued(
    fault: object, published: str | None, url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    server.fail(PATH, fault(30_000))  # type: ignore[operator]
    client(read_timeout_seconds=0.3).download(url, target, sha256=published)
    assert target.read_bytes() == DATA
    assert ranges(server) == [None, "bytes=30000-"]
    assert server.asked(PATH)[1].headers["If-Range"] == '"first"'
    assert sent(server) == [30_000, len(DATA) - 30_000], "only the rest was sent"


def test_a_later_run_continues_what_an_earlier_one_left(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    leave_part(server, client, target, 30_000)
    assert not target.exists()
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert sent(server) == [len(DATA) - 30_000]
    assert names(target.parent) == ["a.glb"]


def test_a_server_that_ignores_ranges_is_asked_for_all(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    leave_part(server, client, target, 30_000)
    server.fail(PATH, whole)
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert sent(server) == [len(DATA)]


def test_a_file_that_changed_in_the_middle_starts_over(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    leave_part(server, client, target, 30_000)
    server.serve(PATH, OTHER, etag='"second"')
    assert client().download(url, target).version == '"second"'
    assert target.read_bytes() == OTHER
    assert ranges(server) == ["bytes=30000-"]
    assert sent(server) == [len(OTHER)]


def test_a_server_that_overlooks_the_change_is_seen_through(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    leave_part(server, client, target, 30_000)
    server.serve(PATH, OTHER, etag='"second"')
    server.fail(PATH, lambda handler, file: handler_without_condition(handler, file))
    client().download(url, target)
    assert target.read_bytes() == OTHER
    assert ranges(server) == ["bytes=30000-", None]


def handler_without_condition(handler, file) -> None:  # type: ignore[no-untyped-def]
    """The rest of the new version, as if If-Range were unknown."""
    rest = file.data[30_000:]
    content_range = f"bytes 30000-{len(file.data) - 1}/{len(file.data)}"
    handler.start(206, len(rest), Content_Range=content_range, ETag=file.etag)
    handler.body(rest)


def test_another_range_than_asked_for_is_not_taken(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    def shifted(handler, file) -> None:  # type: ignore[no-untyped-def]
        handler.start(206, 5, Content_Range=f"bytes 0-4/{len(DATA)}", ETag=file.etag)
        handler.body(DATA[:5])

    leave_part(server, client, target, 30_000)
    server.fail(PATH, shifted)
    client().download(url, target)
    assert target.read_bytes() == DATA


def test_a_range_may_come_in_pieces(url: str, server: FaultServer, client: MakeClient, target: Path) -> None:
    def piece(handler, file) -> None:  # type: ignore[no-untyped-def]
        handler.start(206, 1000, Content_Range=f"bytes 30000-30999/{len(DATA)}", ETag=file.etag)
        handler.body(DATA[30_000:31_000])

    leave_part(server, client, target, 30_000)
    server.fail(PATH, piece)
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert ranges(server) == ["bytes=30000-", "bytes=31000-"]


def test_a_part_that_was_whole_is_recognised(url: str, server: FaultServer, client: MakeClient, target: Path) -> None:
    leave_part(server, client, target, 30_000)
    part_path(target).write_bytes(DATA)
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert sent(server) == [0], "416, and that was all"


def test_a_part_longer_than_the_file_starts_over(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    leave_part(server, client, target, 30_000)
    part_path(target).write_bytes(DATA + b"more")
    client(attempts=1).download(url, target)
    assert target.read_bytes() == DATA


def test_without_an_etag_only_a_published_hash_lets_a_part_be_continued(
    server: FaultServer, client: MakeClient, target: Path
) -> None:
    url = server.serve(PATH, DATA, etag=None)
    leave_part(server, client, target, 30_000)
    client().download(url, target)
    assert ranges(server) == [None]
    target.unlink()
    leave_part(server, client, target, 30_000)
    client().download(url, target, sha256=SHA256)
    assert ranges(server) == ["bytes=30000-"]
    assert target.read_bytes() == DATA


def test_a_weak_etag_is_no_version_but_a_date_is(server: FaultServer, client: MakeClient, target: Path) -> None:
    url = server.serve(PATH, DATA, etag='W/"weak"')
    leave_part(server, client, target, 30_000)
    client().download(url, target)
    assert ranges(server) == [None]
    target.unlink()
    date = "Mon, 06 Jul 2026 10:00:00 GMT"
    server.serve(PATH, DATA, etag=None, Last_Modified=date)
    leave_part(server, client, target, 30_000)
    server.fail(PATH, whole)
    client().download(url, target)
    assert server.asked(PATH)[0].headers["If-Range"] == date


def test_what_another_url_left_is_not_continued(server: FaultServer, client: MakeClient, target: Path) -> None:
    server.serve(PATH, DATA)
    leave_part(server, client, target, 30_000)
    client().download(server.serve("/other", OTHER), target)
    assert target.read_bytes() == OTHER


def test_a_damaged_note_costs_the_part_alone(url: str, server: FaultServer, client: MakeClient, target: Path) -> None:
    leave_part(server, client, target, 30_000)
    note = part_path(target).with_name(".a.glb.part.json")
    assert "127.0.0.1" not in note.read_text(), "a URL may carry a signature"
    note.write_text(json.dumps({"origin": 1})[:5])
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert ranges(server) == [None]


@pytest.mark.parametrize("fault", [instead(OTHER), instead(DATA[:-1])], ids=["content", "length"])
def test_wrong_bytes_are_asked_for_once_more(
    fault: object, url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    server.fail(PATH, fault)  # type: ignore[arg-type]
    client(attempts=1).download(url, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert ranges(server) == [None, None], "from the start"


@pytest.mark.parametrize("published", [{"sha256": SHA256}, {"size": len(DATA) + 1}], ids=["hash", "size"])
def test_wrong_bytes_twice_are_a_failure(
    published: dict[str, object], server: FaultServer, client: MakeClient, target: Path
) -> None:
    url = server.serve(PATH, OTHER)
    with pytest.raises(DownloadError, match="not what was published; the file or the list") as caught:
        client().download(url, target, **published)
    assert caught.value.failure is FailureClass.CHECKSUM
    assert len(server.asked(PATH)) == 2
    assert names(target.parent) == []


@pytest.mark.parametrize("etag", ['"first"', None])
def test_a_damaged_part_does_not_get_into_the_file(
    etag: str | None, server: FaultServer, client: MakeClient, target: Path
) -> None:
    url = server.serve(PATH, DATA, etag=etag)
    leave_part(server, client, target, 30_000)
    part_path(target).write_bytes(OTHER[:30_000])
    client().download(url, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert ranges(server) == ["bytes=30000-", None]


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_too_large_is_refused(
    announced: bool, url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    def unannounced(handler, file) -> None:  # type: ignore[no-untyped-def]
        handler.close_connection = True
        handler.start(200, None, Connection="close")
        handler.body(file.data)

    if not announced:
        server.fail(PATH, unannounced)
    with pytest.raises(DownloadError, match="larger than the limit of 5000 bytes") as caught:
        client().download(url, target, max_bytes=5000)
    assert caught.value.failure is FailureClass.UNSAFE
    assert len(server.asked(PATH)) == 1
    assert names(target.parent) == []
    client().download(url, target, max_bytes=len(DATA))


def test_an_encoding_that_was_declined_is_refused(server: FaultServer, client: MakeClient, target: Path) -> None:
    url = server.serve(PATH, DATA, Content_Encoding="gzip")
    with pytest.raises(DownloadError, match="comes encoded although that was declined"):
        client().download(url, target)
    assert server.asked(PATH)[0].headers["Accept-Encoding"] == "identity"


def test_a_refusal_leaves_nothing(server: FaultServer, client: MakeClient, target: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        client().download(server.url("/none"), target)
    assert caught.value.failure is FailureClass.MISSING
    assert names(target.parent) == []


def test_a_refusal_keeps_the_part(url: str, server: FaultServer, client: MakeClient, target: Path) -> None:
    leave_part(server, client, target, 30_000)
    server.fail(PATH, status(503), status(503))
    with pytest.raises(DownloadError):
        client(attempts=2).download(url, target)
    client().download(url, target)
    assert ranges(server)[-1] == "bytes=30000-"


def test_an_empty_file_is_a_file(server: FaultServer, client: MakeClient, target: Path) -> None:
    assert client().download(server.serve(PATH, b""), target).bytes == 0
    assert target.read_bytes() == b""
    assert names(target.parent) == ["a.glb"]


def test_two_at_the_same_file_share_one_download(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    server.fail(PATH, slowly(len(DATA) // 5, 0.05))
    found: list[bool] = []
    workers = [threading.Thread(target=lambda: found.append(client().download(url, target).fetched)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == [False, False, False, True]
    assert len(server.asked(PATH)) == 1
    assert target.read_bytes() == DATA
    assert names(target.parent) == ["a.glb"]


def test_whoever_waits_for_a_part_can_be_stopped(url: str, client: MakeClient, target: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with claimed(target, url, threading.Event()), pytest.raises(DownloadError, match=r"a\.glb was interrupted"):
        client().download(url, target, stop=stop)


def test_a_running_download_can_be_stopped_and_keeps_its_part(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    stop, part, stopped = threading.Event(), part_path(target), []
    server.fail(PATH, slowly(len(DATA) // 100, 0.05))

    def stop_under_way() -> None:
        wait_for_bytes(part, 1)
        stopped.append(time.monotonic())
        stop.set()

    threading.Thread(target=stop_under_way).start()
    with pytest.raises(DownloadError, match=r"a\.glb was interrupted; run again"):
        client().download(url, target, stop=stop)
    assert time.monotonic() - stopped[0] < 3, "it would take four seconds and more"
    assert 0 < part.stat().st_size < len(DATA)


_PROGRAM = """
    import resource, signal, sys
    from pathlib import Path
    from catalog.download_parameters import DownloadParameters
    from catalog.http_client import HttpClient
    from catalog.http_errors import DownloadError
    url, target, limit = sys.argv[1:]
    if limit != "0":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        with HttpClient(DownloadParameters()) as client:
            client.download(url, Path(target))
    except DownloadError as error:
        print(error.failure, error)
"""


def program(url: str, target: Path, limit: int = 0) -> "subprocess.Popen[str]":
    """A process of its own that downloads, at most files of `limit` bytes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), url, str(target), str(limit)],
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_a_part_that_the_next_continues(
    url: str, server: FaultServer, client: MakeClient, target: Path
) -> None:
    server.fail(PATH, slowly(len(DATA) // 100, 0.02))
    process = program(url, target)
    part = part_path(target)
    wait_for_bytes(part, 10_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    size = part.stat().st_size
    assert 10_000 <= size < len(DATA)
    client().download(url, target)
    assert target.read_bytes() == DATA
    assert ranges(server) == [None, f"bytes={size}-"]
    assert server.asked(PATH)[1].sent == len(DATA) - size


def test_two_processes_at_the_same_file_share_one_download(url: str, server: FaultServer, target: Path) -> None:
    server.fail(PATH, slowly(len(DATA) // 10, 0.15))
    processes = [program(url, target) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["", ""]
    assert len(server.asked(PATH)) == 1
    assert target.read_bytes() == DATA


def test_a_full_disk_is_one_line(url: str, client: MakeClient, target: Path) -> None:
    output, _ = program(url, target, limit=30_000).communicate()
    assert output.startswith(f"disk no space left on the disk for {target} from {url}; free some space and run again")
    assert output.count("\n") == 1
    assert not target.exists()
    client().download(url, target)
    assert target.read_bytes() == DATA


def test_a_folder_that_cannot_be_written_is_one_line(url: str, client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"cannot write .*/file/a\.glb from http.*; check the folder") as caught:
        client().download(url, tmp_path / "file" / "a.glb")
    assert caught.value.failure is FailureClass.ERROR


def test_the_clock_of_a_download_is_the_clients(
    url: str, server: FaultServer, client: MakeClient, target: Path, passing_time: PassingTime
) -> None:
    server.fail(PATH, status(429, RateLimit='"resolvers";r=0;t=87'))
    client().download(url, target)
    assert passing_time.slept == [87]
