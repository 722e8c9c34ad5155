"""What batches cost beside decoding, and what fetching ahead saves: `python -m benchmarks.batches`.

`main`: CPU of the process that trains, for each batch of 192 pairs of 256² that a worker sends it, with 800,000 objects planned;
goal 5 % of a step of half a second. `worker`: CPU of making such a batch of decoded objects. `size`: of making one 512² picture
256². `fetch`: seconds of an epoch from an HTTP server that waits before each answer, in the order `window` and with one worker,
without fetchers and with four; goal: half the time. `--quick` takes fewer batches.
"""

import argparse
import hashlib
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import webdataset

from blender_render.camera_sets import View
from blender_render.view_codecs import encode_view, resized
from geometry.cameras import Intrinsics
from training.data.batches import BatchMaker, ViewChoice
from training.data.cache import ShardCache
from training.data.cameras_file import cameras_file
from training.data.index import IndexRow, write_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.views import ReadViews

_OBJECTS, _BATCH, _SIZE, _VIEWS = 800_000, 192, 256, 12
_GOAL_MILLISECONDS = 25.0
_GOAL_RATIO = 0.5
_SHARDS, _IN_A_SHARD, _PIXELS, _WAIT_SECONDS = 24, 8, 128, 0.25


class Decoded:
    """Objects that are in memory already."""

    def __init__(self) -> None:
        self._rgba = np.random.default_rng(0).integers(0, 256, (_VIEWS, _SIZE, _SIZE, 4), dtype=np.uint8)
        self._c2w, self._intrinsics = np.stack([np.eye(4)] * _VIEWS), np.ones((_VIEWS, 4))

    def __len__(self) -> int:
        return _OBJECTS

    def view_count(self, _number: int) -> int:
        """How many views each has."""
        return _VIEWS

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views."""
        views = list(chosen)
        return ReadViews(str(number), self._c2w[views], self._intrinsics[views], lambda at, _: self._rgba[views[at]])


def main_process(batches: int) -> float:
    """CPU milliseconds of this process for each batch."""
    plan = Plan((Mixed("objects", _OBJECTS),), _BATCH, seed=0)
    reading = iter(PlannedLoader(plan, {"objects": Decoded()}, ViewChoice(), workers=1))
    next(reading)
    started = time.process_time()
    for _ in islice(reading, batches):
        pass
    return 1e3 * (time.process_time() - started) / batches


def worker(batches: int) -> float:
    """CPU milliseconds of making a batch."""
    plan = Plan((Mixed("objects", _OBJECTS),), _BATCH, seed=0)
    maker, epoch = BatchMaker(plan.datasets, {"objects": Decoded()}, ViewChoice(), 0), plan.epoch(0)
    started = time.process_time()
    for number in range(batches):
        assert not maker[epoch.batch(number)].damaged
    return 1e3 * (time.process_time() - started) / batches


def smaller(pictures: int) -> float:
    """CPU milliseconds of making a picture half as large."""
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 4), dtype=np.uint8)
    started = time.process_time()
    for _ in range(pictures):
        resized(picture, _SIZE)
    return 1e3 * (time.process_time() - started) / pictures


def write_set(folder: Path) -> None:
    """Shards of noise."""
    chance, lens = np.random.default_rng(0), Intrinsics.from_fov(0.8, _PIXELS)
    cameras, rows = cameras_file([View(np.eye(4), lens)] * 4), []
    for number in range(_SHARDS):
        path = folder / f"train-{number:06d}.tar"
        with webdataset.TarWriter(str(path), mtime=0, encoder=False) as archive:
            for key in range(_IN_A_SHARD):
                pictures = chance.integers(0, 256, (4, _PIXELS, _PIXELS, 4), dtype=np.uint8)
                views = {f"{view:03d}.png": encode_view(rgba, "png")["png"] for view, rgba in enumerate(pictures)}
                archive.write({"__key__": f"{number}-{key}", **views, "cameras.json": cameras})
        with tarfile.open(path) as archive:
            starts = [member.offset for member in archive if member.name.endswith("000.png")]
            stops = [*starts[1:], archive.offset]
        rows += [_row(path, f"{number}-{key}", *piece) for key, piece in enumerate(zip(starts, stops, strict=True))]
    write_index(folder, rows)


def _row(path: Path, key: str, start: int, stop: int) -> IndexRow:
    digest = hashlib.sha256(path.read_bytes()[start:stop]).hexdigest()
    return IndexRow(path.name, key, start, stop - start, digest, 4, "train", "CC0-1.0", "noise")


class Quiet(ThreadingHTTPServer):
    """Says nothing of connections that end in the middle, as those of workers do."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class Late(BaseHTTPRequestHandler):
    """Gives the ranges of a folder's files, each after a while."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *connection: object) -> None:
        self._folder = folder
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:  # noqa: D102
        time.sleep(_WAIT_SECONDS)
        data = (self._folder / self.path.rpartition("/")[2]).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        piece = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(piece) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def fetched_epoch(folder: Path, fetchers: int) -> float:
    """Seconds of an epoch with an empty cache."""
    server = Quiet(("127.0.0.1", 0), partial(Late, folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as cache:
        url = f"http://127.0.0.1:{server.server_port}"
        reader = ShardReader(url, "train", cache=ShardCache(Path(cache), 10**9))
        mixed = Mixed("noise", _SHARDS * _IN_A_SHARD, shards=(_IN_A_SHARD,) * _SHARDS)
        plan = Plan((mixed,), _IN_A_SHARD, seed=0, order="window", window=_IN_A_SHARD)
        started = time.perf_counter()
        loader = PlannedLoader(plan, {"noise": reader}, ViewChoice(), workers=1, fetchers=fetchers)
        assert sum(1 for _ in loader.epoch()) == _SHARDS
        seconds = time.perf_counter() - started
    server.shutdown()
    server.server_close()
    return seconds


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five batches")
    batches = 5 if parser.parse_args().quick else 40
    cost = main_process(batches)
    print(f"main: {cost:.1f} ms of CPU a batch (goal {_GOAL_MILLISECONDS:.0f} ms)")
    print(f"worker: {worker(batches):.1f} ms of CPU a batch of {2 * _BATCH} pictures")
    print(f"size: {smaller(batches):.1f} ms of CPU a picture")
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder))
        alone, ahead = (fetched_epoch(Path(folder), fetchers) for fetchers in (0, 4))
    print(f"fetch: {alone:.2f} s without fetchers, {ahead:.2f} s with four: {ahead / alone:.2f} (goal {_GOAL_RATIO})")
    return int(cost > _GOAL_MILLISECONDS or ahead / alone > _GOAL_RATIO)


if __name__ == "__main__":
    sys.exit(main())
