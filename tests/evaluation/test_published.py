"""Published figures: every file that comes along is whole, and a wrong one is refused by name and reason."""

from pathlib import Path

import pytest

from blender_render.protocols import PROTOCOLS
from evaluation.protocol_presets import PRESETS
from evaluation.published.tables import COLUMNS, by_protocol, read_published
from stage.errors import InputError, ParameterError

GOOD = """
system: Nobody
tables:
  - title: new views
    dataset: things
    protocol: cameras anywhere
    fits: [ours]
    source: a paper, table 1
    read: second-hand
    columns: [psnr, lpips]
    rows:
      - [first, 20.10, .25]
      - [second, 19, null]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "nobody.yaml").write_text(text)
    return folder


def test_a_row_is_read_as_it_stands(tmp_path: Path) -> None:
    (file,) = read_published(written(tmp_path, GOOD))
    (table,) = file.tables
    assert [(row.method, row.values) for row in table.rows] == [("first", (20.1, 0.25)), ("second", (19.0, None))]
    assert [table.digits(column) for column in (0, 1)] == [1, 2]
    assert [table.best(column) for column in (0, 1)] == [20.1, 0.25]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[psnr, lpips]", "[psnr, beauty]", "no column beauty; columns are psnr"),
        ("[second, 19, null]", "[second, 19]", "second has 1 figures for 2 columns"),
        ("[second, 19, null]", "[first, 19, null]", "stands in the table twice"),
        ("20.10", ".nan", "a figure of first is not finite"),
        ("20.10", "twenty", "twenty"),
        ("source: a paper, table 1", "source: ''", "source"),
        ("    source: a paper, table 1\n", "", "source"),
        ("read: second-hand", "read: somewhere", "in the source"),
        ("protocol: cameras", "protocoll: cameras", "did you mean protocol"),
        ("system: Nobody", "system: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_reason(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_published(written(tmp_path, GOOD.replace(old, new)))
    assert "nobody.yaml" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_system_without_tables_says_why(tmp_path: Path) -> None:
    (file,) = read_published(written(tmp_path, "system: Nobody\nnote: nothing was published\n"))
    assert not file.tables
    with pytest.raises(ParameterError, match="neither a table nor a note"):
        read_published(written(tmp_path, "system: Nobody\n"))


def test_an_empty_folder_is_no_set_of_figures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no published figures in"):
        read_published(tmp_path)


def test_tables_of_our_protocol_come_first(tmp_path: Path) -> None:
    files = read_published(written(tmp_path, GOOD))
    assert [len(part) for part in by_protocol(files, "ours")] == [1, 0]
    assert [len(part) for part in by_protocol(files, "another")] == [0, 1]


def test_what_comes_along_covers_every_system_and_names_its_sources() -> None:
    files = read_published()
    systems = {file.system for file in files}
    assert {"Zero-1-to-3", "Zero-1-to-3 XL", "Cascade-Zero123", "ZeroNVS", "Zero-1-to-G", "ViewFusion"} <= systems
    fitting, others = by_protocol(files, "syncdreamer")
    assert {"SyncDreamer, new views of GSO", "ViewFusion, consistency of 16 views of GSO"} <= {
        t.title for t in fitting
    }
    titles = [table.title for table in fitting + others]
    assert len(set(titles)) == len(titles) == sum(len(file.tables) for file in files)
    assert {name for table in fitting + others for name in table.columns} <= COLUMNS.keys()
    # A name that no protocol of ours has would never be shown first, and nobody would notice.
    assert {name for table in fitting + others for name in table.fits} <= {*PRESETS, *PROTOCOLS}
