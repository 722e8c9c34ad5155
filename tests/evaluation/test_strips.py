"""Strips: the right objects, in the right order, legible, and no more of them than fit a page."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_support import asset, object_scores
from PIL import Image

from evaluation.protocol import ObjectViews
from evaluation.scores import per_object_table
from evaluation.strips import BEST, WORST, Shown, StripKeeper, choose_shown, draw_strip, read_strips, write_strips
from stage.errors import InputError

SIDE = 24
RED, GREEN, BLUE = np.eye(3)


def flat(colour: np.ndarray) -> np.ndarray:
    return np.broadcast_to(colour, (SIDE, SIDE, 3)).astype(np.float64)


def pixels(webp: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(webp)).convert("RGB")) / 255.0


def table_of(figures: list[float]) -> pd.DataFrame:
    return per_object_table([object_scores(f"u{n:03d}", "unseen", v, 1.0, 1.0) for n, v in enumerate(figures)])


def test_columns_are_in_order_of_azimuth_and_predictions_are_above() -> None:
    shown = Shown("unseen", "u", "thing", "worst 1", 10.0)
    targets, predictions = np.stack([flat(RED), flat(GREEN)]), np.stack([flat(BLUE), flat(RED)])
    strip = draw_strip(shown, targets, predictions, [-90.0, 90.0], flat(BLUE))
    picture = pixels(strip.webp)
    assert picture.shape == (strip.height, strip.width, 3)
    assert strip.views == 3
    left, side = 72, 128
    columns = [left + n * (side + 2) + side // 2 for n in range(3)]
    upper, lower = 16 + side // 2, 16 + side + 2 + side // 2
    # The input has no prediction; 90° comes before −90°, which is 270°.
    assert picture[upper, columns[0]] == pytest.approx([0.93] * 3, abs=0.02)
    assert picture[lower, columns[0]].argmax() == 2
    assert [picture[upper, x].argmax() for x in columns[1:]] == [0, 2]
    assert [picture[lower, x].argmax() for x in columns[1:]] == [1, 0]


def test_the_worst_and_the_best_are_chosen_and_none_twice() -> None:
    chosen = choose_shown(table_of([float(n) for n in range(100)]))
    assert [shown.psnr for shown in chosen] == [*range(WORST), *range(99, 99 - BEST, -1)]
    assert [chosen[0].rank, chosen[WORST].rank] == ["worst 1", "best 1"]
    assert [shown.psnr for shown in choose_shown(table_of([3.0, 1.0, 2.0]))] == [1.0, 2.0, 3.0]


def test_objects_without_a_figure_are_not_shown() -> None:
    assert [shown.uid for shown in choose_shown(table_of([float("nan"), 5.0]))] == ["u001"]
    assert choose_shown(pd.DataFrame({"subset": ["unseen"], "uid": ["u"], "method": ["model"]})) == []


@pytest.mark.parametrize("count", [1, 5, 12, 60])
def test_objects_that_come_one_by_one_leave_the_same_strips(count: int) -> None:
    figures = np.random.default_rng(count).permutation(count).astype(float)
    keeper = StripKeeper()
    for number, figure in enumerate(figures):
        uid = f"u{number:03d}"
        views = ObjectViews(asset(uid, "test"), np.zeros((3, SIDE, SIDE, 3)), ())
        keeper.offer(views, np.ones((2, SIDE, SIDE, 3)), object_scores(uid, "unseen", figure, 1.0, 1.0))
        assert len(keeper._kept) <= WORST + BEST
    assert [(s.uid, s.rank) for s in keeper.strips()] == [
        (s.uid, s.rank) for s in choose_shown(table_of(list(figures)))
    ]


def test_strips_come_back_from_their_file_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "strips.parquet"
    assert read_strips(path) == []
    shown = Shown("unseen", "u", "thing", "worst 1", 10.0)
    strip = draw_strip(shown, flat(RED)[None], flat(RED)[None], [0.0])
    write_strips(path, [strip, replace(strip, rank="best 1")])
    assert read_strips(path) == [strip, replace(strip, rank="best 1")]
    first = path.read_bytes()
    write_strips(path, [strip, replace(strip, rank="best 1")])
    assert path.read_bytes() == first
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"strips.parquet holds no strips.*run viewforge evaluate again"):
        read_strips(path)
