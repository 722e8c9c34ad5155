"""What storing a view costs in shards: `python -m benchmarks.codecs`.

Composed objects are rendered at 512 × 512 pixels, or `--renders FOLDER` names a folder of rendered objects; every view is
stored in each of the ways that a shard can hold it and some that it does not, as rendered and made smaller to 256 pixels as
training reads it. Bytes, CPU-milliseconds to encode and to decode to RGBA on one core (the best of three), and the error: PSNR
of the picture on white, and whether alpha is the same. What reading the rendered PNG and making it smaller at each reading
costs stands beside it. Goals: what is recommended for training (`docs/decisions/0016`) decodes 4 times as fast as that, in a
quarter of its bytes or less, as it has a quarter of the pixels, and is exact. `--quick` takes 2 objects of 2 views at 128 and
64 pixels, without goals. About two minutes.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.rendered_object import on_white
from blender_render.view_codecs import decode_view, encode_view, resized
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import selected_assets
from stage.executor import ExecutorParameters
from stage.workspace import Workspace

_SPEED_GOAL, _BYTES_GOAL = 4.0, 0.25
_RECOMMENDED = "webp"
_REPEATS = 3

Picture = UInt8[np.ndarray, "h w 4"]
Members = Mapping[str, bytes]


@dataclass(frozen=True)
class Figures:
    """Of one way to store a set of views, means a view."""

    bytes: float
    encode_ms: float
    decode_ms: float
    psnr: float
    """On white, dB; infinite where nothing is lost."""
    alpha_exact: bool


def _pillow(file_type: str, **options: object) -> Callable[[Picture], Members]:
    """A way to store views that shards do not offer."""

    def encode(rgba: Picture) -> Members:
        stream = io.BytesIO()
        Image.fromarray(rgba).save(stream, format=file_type, **options)
        return {"webp" if file_type == "WEBP" else "png": stream.getvalue()}

    return encode


# By name; those of the parameter `shard.encoding` first.
CODECS: dict[str, Callable[[Picture], Members]] = {
    "png": lambda rgba: encode_view(rgba, "png"),
    "webp": lambda rgba: encode_view(rgba, "webp"),
    "jpeg_alpha 95": lambda rgba: encode_view(rgba, "jpeg_alpha", 95),
    "jpeg_alpha 90": lambda rgba: encode_view(rgba, "jpeg_alpha", 90),
    "jpeg_alpha 80": lambda rgba: encode_view(rgba, "jpeg_alpha", 80),
    "(PNG, level 1)": _pillow("PNG", compress_level=1),
    "(PNG, not compressed)": _pillow("PNG", compress_level=0),
    "(WebP lossless, method 0)": _pillow("WEBP", lossless=True, exact=True, method=0),
    "(WebP lossless, method 6)": _pillow("WEBP", lossless=True, exact=True, method=6),
    "(WebP, quality 90)": _pillow("WEBP", quality=90, method=4),
}


def decoded(members: Members) -> Picture:
    """The picture that one view's members hold."""
    return decode_view({f"000.{suffix}": data for suffix, data in members.items()}, 0)


def seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of the best of three."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def measure(encode: Callable[[Picture], Members], views: list[Picture]) -> Figures:
    """Store and read a set of views in one way."""
    stored = [encode(rgba) for rgba in views]
    read = [decoded(members) for members in stored]
    error = np.mean([np.mean((on_white(a) - on_white(b)) ** 2) for a, b in zip(views, read, strict=True)])
    return Figures(
        bytes=sum(len(data) for members in stored for data in members.values()) / len(views),
        encode_ms=1e3 * seconds(lambda: [encode(rgba) for rgba in views]) / len(views),
        decode_ms=1e3 * seconds(lambda: [decoded(members) for members in stored]) / len(views),
        psnr=float("inf") if error == 0 else float(-10 * np.log10(error)),
        alpha_exact=all(np.array_equal(a[..., 3], b[..., 3]) for a, b in zip(views, read, strict=True)),
    )


@dataclass(frozen=True)
class Reading:
    """Of reading rendered pictures, means a view."""

    bytes: float
    ms: float


def at_each_reading(files: list[bytes], size: int) -> Reading:
    """Reading the rendered pictures and making them smaller then, as readers of loose files do."""
    took = seconds(lambda: [_small(data, size) for data in files])
    return Reading(sum(map(len, files)) / len(files), 1e3 * took / len(files))


def _small(data: bytes, size: int) -> Picture:
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def rendered(folder: Path, objects: int, views: int, size: int) -> Path:
    """Render composed objects; the folder of what came out."""
    workspace = Workspace(folder)
    build_catalog(CatalogParameters(objects=objects), 0, workspace)
    executor = ExecutorParameters(workers=1, threads=1)
    quality = QualityParameters(preset="fast", device="cpu")
    parameters = RenderParameters(resolution=size, views=views, quality=quality, executor=executor)
    farm = Farm(workspace.scratch / "renders", parameters, 0, workspace)
    failed = farm.render(selected_assets(workspace))
    assert not failed, failed
    return farm.root


def print_table(title: str, rows: Iterable[tuple[str, Figures]]) -> None:
    """A table as `docs/benchmarks.md` has it."""
    print(f"\n| {title} | bytes | encode, ms | decode, ms | PSNR, dB | alpha |\n| --- | --- | --- | --- | --- | --- |")
    for name, of in rows:
        psnr = "exact" if of.psnr == float("inf") else f"{of.psnr:.1f}"
        alpha = "exact" if of.alpha_exact else "changed"
        print(f"| {name} | {of.bytes:,.0f} | {of.encode_ms:.2f} | {of.decode_ms:.2f} | {psnr} | {alpha} |")


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=Path, help="folder of rendered objects")
    parser.add_argument("--quick", action="store_true", help="2 objects of 2 views at 128 pixels")
    options = parser.parse_args()
    objects, views, size = (2, 2, 128) if options.quick else (6, 4, 512)
    with tempfile.TemporaryDirectory() as folder:
        root = options.renders or rendered(Path(folder), objects, views, size)
        files = [path.read_bytes() for path in sorted(root.glob("*/*/[0-9][0-9][0-9].png"))]
    assert files, f"no pictures in {root}"
    whole = [decoded({"png": data}) for data in files]
    half = [resized(rgba, len(rgba) // 2) for rgba in whole]
    print_table(
        f"{len(whole)} views at {len(whole[0])}²", ((name, measure(way, whole)) for name, way in CODECS.items())
    )
    small = {name: measure(way, half) for name, way in CODECS.items()}
    apart = at_each_reading(files, len(half[0]))
    print_table(f"at {len(half[0])}²", small.items())
    print(f"\nrendered PNG, made smaller at each reading: {apart.bytes:,.0f} bytes, {apart.ms:.2f} ms")
    best = small[_RECOMMENDED]
    speed, share = apart.ms / best.decode_ms, best.bytes / apart.bytes
    goals = (0.0, 1.0) if options.quick else (_SPEED_GOAL, _BYTES_GOAL)
    print(f"\nbytes of {_RECOMMENDED} against the rendered: {share:.3f} (goal {goals[1]})")
    print(f"codecs: {_RECOMMENDED} decodes {speed:.1f} times as fast (goal {goals[0]})")
    return int(speed < goals[0] or share > goals[1] or best.psnr < float("inf") or not best.alpha_exact)


if __name__ == "__main__":
    sys.exit(main())
