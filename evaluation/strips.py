"""Strips: an object from all around, the prediction above the truth in order of azimuth; of the worst and the best objects.

One file, `strips.parquet`, holds them as WebP with what is said of each, so that a report is made without model or renders.
How many there are does not depend on the number of objects, so that a page of a thousand objects stays small.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont, ImageOps

from stage.errors import InputError
from stage.files import replacing

if TYPE_CHECKING:
    from evaluation.protocol import ObjectViews
    from evaluation.scores import ObjectScores

STRIPS_FILE = "strips.parquet"
# Of a subset; the others are rows of the table of objects.
WORST, BEST = 8, 4
_WIDTH, _SMALLEST, _LARGEST = 1500, 40, 128
_GAP, _LINE, _MARGIN = 2, 16, 72
_PAPER, _FAINT, _ABSENT = (255, 255, 255), (100, 100, 100), (238, 238, 238)
_QUALITY = 88


@dataclass(frozen=True)
class Shown:
    """An object that gets a strip."""

    subset: str
    uid: str
    title: str
    rank: str
    """Why: worst 1, worst 2, … best 1, …"""
    psnr: float


@dataclass(frozen=True)
class Strip:
    """A drawn strip and what is said of it."""

    subset: str
    uid: str
    title: str
    rank: str
    psnr: float
    views: int
    """Of its columns."""
    width: int
    height: int
    webp: bytes


def choose_shown(table: pd.DataFrame, worst: int = WORST, best: int = BEST) -> list[Shown]:
    """The objects of each subset with the lowest and the highest PSNR of the model; none twice.

    Args:
        table: `per_object.parquet`; objects without a figure are left out.
        worst: at most so many of the lowest.
        best: at most so many of the highest; of few objects a third.
    """
    if "psnr" not in table.columns:
        return []
    rows = table[(table["method"] == "model") & table["psnr"].notna()]
    shown: list[Shown] = []
    for subset in dict.fromkeys(rows["subset"]):
        ordered = rows[rows["subset"] == subset].sort_values(["psnr", "uid"]).to_dict("records")
        for rank, number in _ranks(len(ordered), worst, best):
            row = ordered[number]
            shown.append(Shown(subset, row["uid"], row["title"], rank, float(row["psnr"])))
    return shown


class StripKeeper:
    """Strips of the worst and the best of a subset's objects, which come one after another; it keeps no more than those.

    Args:
        worst: at most so many of the lowest PSNR.
        best: at most so many of the highest.
    """

    def __init__(self, worst: int = WORST, best: int = BEST) -> None:
        self._worst, self._best = worst, best
        self._kept: dict[tuple[float, str], Strip] = {}

    def offer(self, views: "ObjectViews", predictions: Float[np.ndarray, "t h w 3"], scores: "ObjectScores") -> None:
        """An object with its predictions; it is drawn only if it is among the worst or the best so far."""
        psnr = scores.methods["model"].get("psnr")
        if psnr is None:
            return
        place = (psnr, scores.uid)
        wanted = self._wanted([*self._kept, place])
        if place in wanted:
            shown = Shown(scores.subset, scores.uid, scores.title, "", psnr)
            azimuths = [pose.azimuth_deg for pose in scores.poses]
            self._kept[place] = draw_strip(shown, views.targets, predictions, azimuths, views.condition)
        self._kept = {key: strip for key, strip in self._kept.items() if key in wanted}

    def strips(self) -> list[Strip]:
        """The worst, the very worst first, and then the best, the very best first."""
        places = sorted(self._kept)
        ranks = _ranks(len(places), self._worst, self._best)
        return [replace(self._kept[places[number]], rank=rank) for rank, number in ranks]

    def _wanted(self, places: Iterable[tuple[float, str]]) -> set[tuple[float, str]]:
        ordered = sorted(places)
        return {*ordered[: self._worst], *ordered[max(0, len(ordered) - self._best) :]}


def draw_strip(
    shown: Shown,
    targets: Float[np.ndarray, "t h w 3"],
    predictions: Float[np.ndarray, "t h w 3"],
    azimuths_deg: Sequence[float],
    condition: Float[np.ndarray, "h w 3"] | None = None,
    labels: Sequence[str] | None = None,
) -> Strip:
    """A column for each view in order of azimuth, the input first.

    Args:
        shown: the object.
        targets: the true views, RGB in [0, 1].
        predictions: of the same views.
        azimuths_deg: of the views; from the input view where there is one.
        condition: the input view; it stands among the true views at 0° and has no prediction.
        labels: of the views, where the azimuths are no more than their order; the angles when None.
    """
    order = np.argsort(np.mod(np.round(azimuths_deg, 3), 360.0), kind="stable")
    labels = labels or [f"{round(azimuth) % 360}°" for azimuth in azimuths_deg]
    columns = [(labels[n], predictions[n], targets[n]) for n in order]
    if condition is not None:
        columns.insert(0, ("input", None, condition))
    picture = _drawn(columns)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return Strip(
        **asdict(shown), views=len(columns), width=picture.width, height=picture.height, webp=buffer.getvalue()
    )


def _ranks(count: int, worst: int, best: int) -> list[tuple[str, int]]:
    """What is shown of objects in order of their figure: rank and number, the very worst and the very best first."""
    low = min(worst, max(1, 2 * count // 3), count)
    high = min(best, count - low)
    return [(f"worst {n + 1}", n) for n in range(low)] + [(f"best {n + 1}", count - 1 - n) for n in range(high)]


def write_strips(path: Path, strips: Iterable[Strip]) -> None:
    """Write strips to one file."""
    names = list(Strip.__dataclass_fields__)
    table = pd.DataFrame([asdict(strip) for strip in strips], columns=names)
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_strips(path: Path) -> list[Strip]:
    """The strips of a file; none where there is no file.

    Raises:
        InputError: when the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [Strip(**{str(name): value for name, value in row.items()}) for row in _rows(path)]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} holds no strips: {str(error).splitlines()[0]}", "run viewforge evaluate again"
        ) from None


def _rows(path: Path) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in pd.read_parquet(path).to_dict("records")]


def _drawn(
    columns: Sequence[tuple[str, Float[np.ndarray, "h w 3"] | None, Float[np.ndarray, "h w 3"]]],
) -> Image.Image:
    side = min(_LARGEST, max(_SMALLEST, (_WIDTH - _MARGIN) // len(columns) - _GAP))
    sheet = Image.new("RGB", (_MARGIN + len(columns) * (side + _GAP), _LINE + 2 * (side + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for row, word in enumerate(("prediction", "truth")):
        draw.text((0, _LINE + row * (side + _GAP) + side // 2 - 7), word, fill=_FAINT, font=font)
    for number, (label, prediction, truth) in enumerate(columns):
        left = _MARGIN + number * (side + _GAP)
        draw.text((left + 2, 1), label, fill=_FAINT, font=font)
        for row, picture in enumerate((prediction, truth)):
            sheet.paste(_cell(picture, side), (left, _LINE + row * (side + _GAP)))
    return sheet


def _cell(picture: Float[np.ndarray, "h w 3"] | None, side: int) -> Image.Image:
    """A picture at the strip's size; small ones keep their pixels, wide ones their shape; none is grey."""
    if picture is None:
        return Image.new("RGB", (side, side), _ABSENT)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    method = Image.Resampling.LANCZOS if max(image.size) > side else Image.Resampling.NEAREST
    return ImageOps.pad(image, (side, side), method, color=_PAPER)
