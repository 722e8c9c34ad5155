"""What a scan of ZeroNVS's shards costs, without and with scales: `python -m benchmarks.scene_scan`.

A shard of 40 scenes of 20 frames is written, 256×256 pixels, noise in pictures and in depth, which compress badly; it is scanned
by its headers alone, and with scales out of all depth. CPU-seconds of one process a thousand frames, the best of three. Half a
minute.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from geometry.cameras import Intrinsics, look_at_origin
from stage.seeds import generator
from training.data.zeronvs_layout import Scene, write_scenes
from training.data.zeronvs_scales import WantedScales
from training.data.zeronvs_scan import scan_shard

_SCENES, _FRAMES, _SIDE, _REPEATS = 40, 20, 256, 3
# The published mixture: scenes times about how many frames each has.
_PUBLISHED = 18432 * 100 + 65280 * 200 + 12032 * 200


def scene(number: int) -> Scene:
    """One of noise."""
    chance = generator(0, str(number), "scene scan")
    shape = (_FRAMES, _SIDE, _SIDE)
    lens = Intrinsics(280.0, 280.0, _SIDE / 2, _SIDE / 2, _SIDE, _SIDE)
    return Scene(
        "book",
        f"{number}_1",
        chance.integers(0, 256, (*shape, 3), dtype=np.uint8),
        np.stack([look_at_origin(1.0, 0.1 * view, 2.0) for view in range(_FRAMES)]),
        (lens,) * _FRAMES,
        chance.uniform(0.5, 6.0, shape).astype(np.float32),
    )


def seconds(shard: Path, wanted: WantedScales | None) -> float:
    """CPU-seconds a thousand frames."""
    taken = []
    for _ in range(_REPEATS):
        started = time.process_time()
        assert len(scan_shard(shard, wanted)) == _SCENES
        taken.append(time.process_time() - started)
    return min(taken) * 1000 / (_SCENES * _FRAMES)


def main() -> int:
    """Measure; the exit status."""
    with tempfile.TemporaryDirectory() as name:
        (shard,) = write_scenes(Path(name), "train", map(scene, range(_SCENES)), max_bytes=2**40)
        print(f"{_SCENES} scenes of {_FRAMES} frames, {shard.stat().st_size / 1e6:.0f} MB")
        for what, wanted in (("headers", None), ("headers and scales", WantedScales())):
            found = seconds(shard, wanted)
            hours = found * _PUBLISHED / 1000 / 3600
            print(f"{what}: {found:.2f} CPU-s a thousand frames, {hours:.1f} core-hours for the published mixture")
    return 0


if __name__ == "__main__":
    sys.exit(main())
