"""What a catalogue holds: every object is counted once under each heading; the charts are drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from catalog.stats import Group, count, left_out, size_text, write_plot
from catalog.table import SPLITS, Asset
from stage.errors import InputError

DUCK = Asset("d" * 32, "gso", "d.glb", "0" * 64, "", 999, "glb", "Y", "by", "", "duck", (), "train", True, "")
ROWS = [
    DUCK,
    replace(DUCK, uid="1", licence="CC-BY-4.0", bytes=1000, split="test"),
    replace(DUCK, uid="2", licence="?", bytes=0, source="objaverse", split="val", file_type="obj"),
    replace(DUCK, uid="3", bytes=7_000_000).excluded("7000000 bytes, over the limit of 10"),
    replace(DUCK, uid="4", bytes=8_000_000).excluded("8000000 bytes, over the limit of 10"),
    replace(DUCK, uid="5").excluded("same bytes as duck"),
]


def names(groups: list[Group]) -> list[tuple[str, int]]:
    return [(group.name, group.objects) for group in groups]


def test_objects_are_counted_by_what_they_have_in_common() -> None:
    tables = count(ROWS)
    assert names(tables["source"]) == [("gso", 5), ("objaverse", 1)]
    assert names(tables["licence"]) == [("CC-BY-4.0", 5), ("unknown", 1)]
    assert names(tables["file type"]) == [("glb", 5), ("obj", 1)]
    assert names(tables["split"]) == [("train", 4), ("val", 1), ("test", 1)]
    assert names(tables["size"]) == [("unknown", 1), ("100–1000 B", 2), ("1–10 kB", 1), ("1–10 MB", 2)]
    assert names(tables["status"]) == [
        ("selected", 3),
        ("left out: bytes over the limit of 10", 2),
        ("left out: same bytes as another", 1),
    ]
    assert tables["source"][0].bytes == 999 + 1000 + 7_000_000 + 8_000_000 + 999


def test_reasons_with_the_numbers_of_single_objects_are_one() -> None:
    found = left_out(ROWS)
    assert {reason: len(group) for reason, group in found.items()} == {
        "bytes over the limit of 10": 2,
        "same bytes as another": 1,
    }
    assert left_out([DUCK]) == {}


@given(
    st.lists(
        st.builds(
            replace,
            st.just(DUCK),
            bytes=st.integers(0, 2**62),
            licence=st.text(max_size=8),
            split=st.sampled_from(SPLITS),
            selected=st.booleans(),
        ),
        max_size=9,
    )
)
def test_every_object_is_counted_once_under_each_heading(rows: list[Asset]) -> None:
    for groups in count(rows).values():
        assert sum(group.objects for group in groups) == len(rows)
        assert sum(group.bytes for group in groups) == sum(asset.bytes for asset in rows)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (12_345_678, "12.3 MB")]
)
def test_sizes_are_for_people(number: int, text: str) -> None:
    assert size_text(number) == text


def test_the_charts_are_a_picture_with_the_same_bytes(tmp_path: Path) -> None:
    rows = [replace(asset, licence=licence) for asset in ROWS for licence in ("by", "a $b$ licence", "x" * 300)]
    rows += [replace(DUCK, uid=f"{number}").excluded(f"reason {number}") for number in range(30)]
    for name in ("a.png", "b.png"):
        write_plot(tmp_path / name, rows)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels != 255).any(axis=2).mean() > 0.01
    bars = (pixels == (0x48, 0x78, 0xA8)).all(axis=2)
    halves = [bars[:450], bars[450:]]
    assert all(part[:, columns].any() for part in halves for columns in np.array_split(np.arange(1500), 3))


def test_another_kind_of_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"charts\.pdf is no name of a PNG file; end it in \.png"):
        write_plot(tmp_path / "charts.pdf", ROWS)
    assert list(tmp_path.iterdir()) == []
