"""A process of its own that reads a shard set through a cache; started by the drills, and killed by some.

python cache_reader.py URL CACHE MAX_BYTES SEED ROUNDS     read everything in a random order, so many times
python cache_reader.py URL CACHE MAX_BYTES SEED hold       hold the lease of one shard until killed
"""

import sys
import time
from pathlib import Path

from stage.seeds import generator
from training.data.cache import ShardCache
from training.data.samples import CheckedSamples
from training.data.shard_store import StreamParameters
from training.data.streams import open_store


def main() -> None:
    """Read or hold, and say so."""
    url, folder, max_bytes, seed, what = sys.argv[1:]
    cache = ShardCache(Path(folder), int(max_bytes))
    store = open_store(url, StreamParameters(attempts=5, first_wait_seconds=0.01))
    rows = store.index()
    print("ready", flush=True)
    if what == "hold":
        with cache.lease(store, rows[0].shard) as copy:
            print("held" if copy else "streamed", flush=True)
            time.sleep(600)
    samples = CheckedSamples(store, cache)
    for turn in range(int(what)):
        for number in generator(int(seed), f"turn {turn}", "order").permutation(len(rows)):
            # Raises when a byte is wrong.
            samples.read(rows[number])
    print("read", flush=True)


if __name__ == "__main__":
    main()
