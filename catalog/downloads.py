"""Many downloads at once: bounded, resumable, one outcome an object, and no bad object stops the others.

`each` runs any tasks that wait for the network in threads; `fetch_all` brings objects into an `ObjectStore` with it.
"""

import operator
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from catalog.download_parameters import DownloadParameters
from catalog.github import POINTER_BYTES, is_pointer_to, large_file_url
from catalog.http_client import Downloaded, HttpClient
from catalog.http_errors import DownloadError, in_one_line
from catalog.object_store import ObjectStore
from stage.errors import StageFailedError
from stage.failures import FailureClass, Outcome
from stage.progress import Progress
from stage.worker_host import classify

# Enough that no worker waits for the consumer; the rest of a list of millions stays an iterator.
_IN_FLIGHT_PER_WORKER = 2
_TRACE_CHARACTERS = 2000


@dataclass(frozen=True)
class Request:
    """One object that is wanted."""

    uid: str
    url: str
    sha256: str | None = None
    """Published hash, hexadecimal; without one the URL's record tells whether it is there."""
    size: int | None = None
    """Published size in bytes."""
    extension: str = ""
    """File type, which the stored file is named with."""


@dataclass(frozen=True)
class Task:
    """Work on one object in a thread.

    `run` receives an event that is set when the run ends early, and returns the outcome's result. It may be called
    from any thread.
    """

    uid: str
    run: Callable[[threading.Event], dict[str, Any]]


def fetch_all(
    requests: Iterable[Request],
    store: ObjectStore,
    client: HttpClient,
    parameters: DownloadParameters,
    *,
    stage: str = "download",
    total: int | None = None,
) -> Iterator[Outcome]:
    """Bring objects into the store, those that are there without asking anyone.

    The results hold `sha256`, `bytes`, `path` relative to the store's root, and `fetched`: whether the network was needed.

    Args:
        requests: what is wanted; read no further than a few requests ahead.
        store: where it goes.
        client: what it is asked with.
        parameters: number of workers and limit on the size.
        stage: name for progress and errors.
        total: number of requests, for progress; needed when `requests` cannot tell its length.

    Yields:
        One outcome a request, in order of completion.

    Raises:
        StageFailedError: when the disk is full.
    """
    if total is None:
        total = operator.length_hint(requests)
    tasks = (Task(r.uid, partial(fetch, r, store, client, parameters.max_bytes)) for r in requests)
    return each(tasks, workers=parameters.workers, stage=stage, total=total)


def fetch(
    request: Request, store: ObjectStore, client: HttpClient, max_bytes: int | None, stop: threading.Event
) -> dict[str, Any]:
    """Bring one object into the store, unless it is there; the result that `fetch_all` describes.

    Raises:
        DownloadError: when it cannot be had.
        ObjectFailedError: when its hash or its extension is none.
    """
    sha256, fetched = _known(request, store), False
    if sha256 is None:
        sha256, fetched = _bring(request, store, client, max_bytes, stop), True
    path = store.path(sha256, request.extension)
    return {
        "sha256": path.stem,
        "bytes": path.stat().st_size,
        "path": path.relative_to(store.root).as_posix(),
        "fetched": fetched,
    }


def _known(request: Request, store: ObjectStore) -> str | None:
    """The hash of the wanted object when it is in the store already."""
    record = None if request.sha256 else store.recorded(request.url)
    sha256 = request.sha256 or (record.sha256 if record else None)
    return sha256 if sha256 and store.has(sha256, request.extension) else None


def _bring(
    request: Request, store: ObjectStore, client: HttpClient, max_bytes: int | None, stop: threading.Event
) -> str:
    """Download an object into the store; its hash."""
    known = request.sha256
    target = store.path(known, request.extension) if known else store.incoming(request.url, request.extension)
    found = _download(request, target, client, max_bytes, stop)
    if not known:
        store.adopt(target, found.sha256)
        store.record(request.url, found.sha256, found.version)
    return found.sha256


def _download(
    request: Request, target: Path, client: HttpClient, max_bytes: int | None, stop: threading.Event
) -> Downloaded:
    """Download to `target`; a repository may hold a pointer in place of the file, which shows when the hashes differ."""
    download = partial(client.download, target=target, sha256=request.sha256, max_bytes=max_bytes, stop=stop)
    large = large_file_url(request.url)
    try:
        found = download(request.url, size=request.size)
    except DownloadError as error:
        if not large or error.failure is not FailureClass.CHECKSUM or not _points(request, client):
            raise
        return download(large)
    if not large or request.sha256 or not is_pointer_to(_small(target), None):
        return found
    target.unlink()
    return download(large)


def _points(request: Request, client: HttpClient) -> bool:
    try:
        return is_pointer_to(client.get_bytes(request.url, max_bytes=POINTER_BYTES), request.sha256)
    except DownloadError:
        return False


def _small(file: Path) -> bytes:
    """A small file's content; nothing of a larger one."""
    return file.read_bytes() if file.stat().st_size <= POINTER_BYTES else b""


def each(tasks: Iterable[Task], *, workers: int, stage: str, total: int, unit: str = "objects") -> Iterator[Outcome]:
    """Run tasks in threads; whatever one raises becomes its outcome.

    When the consumer stops early, or the stage fails, running tasks are asked to stop and waited for.

    Args:
        tasks: the work; read no further than a few tasks ahead.
        workers: number of threads.
        stage: name for progress and errors.
        total: number of tasks, for progress.
        unit: what a task is, in the plural, for progress.

    Yields:
        One outcome a task, in order of completion.

    Raises:
        StageFailedError: when the disk is full.
    """
    waiting, running, stop, failed = iter(tasks), set[Future[Outcome]](), threading.Event(), 0
    with Progress(stage, total, unit) as progress, ThreadPoolExecutor(workers, stage) as pool:
        try:
            while True:
                free = workers * _IN_FLIGHT_PER_WORKER - len(running)
                running |= {pool.submit(_attempt, task, stop) for task in islice(waiting, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = _usable(future.result())
                    failed += not outcome.ok
                    progress.advance(failed=failed)
                    yield outcome
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _usable(outcome: Outcome) -> Outcome:
    """The outcome, unless it shows that going on is of no use."""
    if outcome.failure is FailureClass.DISK:
        raise StageFailedError(
            f"no space left on the disk while working on {outcome.uid} ({outcome.message})",
            "free some space and run again: finished objects are kept",
        )
    return outcome


def _attempt(task: Task, stop: threading.Event) -> Outcome:
    started = time.monotonic()
    failure, message, trace, result = None, "", "", dict[str, Any]()
    try:
        result = task.run(stop)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with an object is that object's failure
        failure = error.failure if isinstance(error, DownloadError) else classify(error)
        message = in_one_line(error)
        trace = traceback.format_exc()[-_TRACE_CHARACTERS:] if failure is FailureClass.ERROR else ""
    seconds = round(time.monotonic() - started, 3)
    return Outcome(task.uid, failure, message, trace, 1, seconds, 0, result)
