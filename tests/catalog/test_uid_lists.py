"""Lists of objects, each as its authors publish it; broken ones are one line that names the place."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.uid_lists import read_uid_list
from stage.errors import InputError

A, B, C = "8476c4170df24cf5bbe6967222d1a42d", "ecb91f433f144a7798724890f0528b23", "d8ddd8bfa52c4a5f9bbb5cb5d1a0e3ba"
OLD = "0a1LbZBsVPMYqLsVYDXkGJcC3oM"
SUM = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SUM_2 = "d0a46cd25281a36e5d53b68f5b2cbbc1a1f9a3a4e0d9c1a0b6a4de7bd43f54cd"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_kiuisobj_is_a_line_an_object(tmp_path: Path) -> None:
    """LGM's and `objaverse_filter`'s: folder and uid, as Objaverse's paths are."""
    path = written(tmp_path / "kiuisobj_v1.txt", f"000-023/{A}\n000-034/{B}\n\n# the oldest\n{OLD}\n")
    found = read_uid_list(path)
    assert found.uids == {A, B, OLD}
    assert not found.sha256s


def test_kiuisobj_merged_is_a_table_without_a_header(tmp_path: Path) -> None:
    """G-Objaverse's number beside Objaverse's path: the number needs no index then."""
    path = written(tmp_path / "kiuisobj_v1_merged_80K.csv", f"0/10005,000-023/{A}\n9/79995,000-034/{B}\n")
    assert read_uid_list(path).uids == {A, B}


def test_gobj_merged_holds_numbers_that_an_index_translates(tmp_path: Path) -> None:
    numbers = written(tmp_path / "gobj_merged.json", json.dumps(["28/151384", "0/10005"]))
    index = {"28/151384": f"000-142/{A}.glb", "0/10005": f"000-001/{B}.glb", "0/10006": f"000-001/{C}.glb"}
    path = written(tmp_path / "gobjaverse_280k_index_to_objaverse.json", json.dumps(index))
    assert read_uid_list(numbers, path).uids == {A, B}
    # The index is a list of everything that G-Objaverse has.
    assert read_uid_list(path).uids == {A, B, C}


def test_numbers_without_their_index_say_what_to_set(tmp_path: Path) -> None:
    numbers = written(tmp_path / "gobj_merged.json", json.dumps(["28/151384"]))
    with pytest.raises(InputError, match=r"28/151384 among them; set catalog\.selection\.uid_index to its gobjaverse"):
        read_uid_list(numbers)


@pytest.mark.parametrize("index", [{"0/1": f"000-001/{B}.glb"}, {"28/151384": "nothing"}, {"28/151384": SUM}, [], 3])
def test_an_index_that_does_not_translate_is_one_line(index: object, tmp_path: Path) -> None:
    numbers = written(tmp_path / "gobj_merged.json", json.dumps(["28/151384"]))
    with pytest.raises(InputError, match=r"index\.json.*28/151384.*expected \{.*\} with all numbers of the list"):
        read_uid_list(numbers, written(tmp_path / "index.json", json.dumps(index)))


def test_lvis_is_uids_by_category(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "lvis-annotations.json.gz", "wt") as stream:
        json.dump({"Alaska_king_crab": [A], "Band_Aid": [B, OLD], "aerosol_can": []}, stream)
    assert read_uid_list(tmp_path / "lvis-annotations.json.gz").uids == {A, B, OLD}


def test_object_paths_are_addresses_by_uid(tmp_path: Path) -> None:
    paths = {A: f"glbs/000-023/{A}.glb", B: f"glbs/000-034/{B}.glb"}
    assert read_uid_list(written(tmp_path / "object-paths.json", json.dumps(paths))).uids == {A, B}


def test_trellis_500k_gives_sums_and_pages(tmp_path: Path) -> None:
    """Of Sketchfab's objects both; of GitHub's the sum alone, as their files' names are no uids."""
    rows = [
        "sha256,file_identifier,aesthetic_score,captions",
        f'{SUM},https://sketchfab.com/3d-models/{A},5.6,"[""a crab, red"", ""line one\nline two""]"',
        f"{SUM_2.upper()},https://github.com/a/b/blob/{'c0ffee' * 6}c0ff/{B}.glb,4.9,",
    ]
    found = read_uid_list(written(tmp_path / "ObjaverseXL_sketchfab.csv", "\n".join(rows)))
    assert found.uids == {A}
    assert found.sha256s == {SUM, SUM_2}
    assert found.holds("another", SUM_2)
    assert found.holds(A, "another")
    assert not found.holds(B, "another")


def test_objaverse_plus_plus_is_records(tmp_path: Path) -> None:
    records = [
        {"UID": A, "style": "realistic", "score": 3, "is_multi_object": "false", "url": f"https://x.org/{C}.glb"},
        {"UID": B, "style": "cartoon", "score": 2},
    ]
    assert read_uid_list(written(tmp_path / "annotated_800k.json", json.dumps(records))).uids == {A, B}
    assert read_uid_list(written(tmp_path / "annotated.csv", f"UID,score\n{A},3\n{B},2\n")).uids == {A, B}


def test_a_spreadsheet_s_mark_and_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(f"\ufeffuid,score\r\n{A},1\r\n\r\n".encode())
    assert read_uid_list(path).uids == {A}


@given(st.sets(st.from_regex("[0-9a-f]{31}[0-9]", fullmatch=True), min_size=1, max_size=8))
def test_every_type_gives_the_same_objects(tmp_path_factory: pytest.TempPathFactory, uids: set[str]) -> None:
    folder = tmp_path_factory.mktemp("lists")
    texts = {
        "a.txt": "\n".join(f"000-001/{uid}" for uid in uids),
        "b.csv": "uid\n" + "\n".join(uids),
        "c.json": json.dumps(sorted(uids)),
        "d.json": json.dumps([{"uid": uid, "note": "n"} for uid in uids]),
    }
    found = {name: read_uid_list(written(folder / name, text)).uids for name, text in texts.items()}
    assert found == dict.fromkeys(texts, frozenset(uids))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "is empty"),
        ("a.json", b"", "cannot be read"),
        ("a.json", b"[]", "is empty"),
        ("a.json", b'["' + A.encode(), "cannot be read"),
        ("a.json", b'["no object"]', "entry 1: 'no object' names no object"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.txt", A.encode() + b"\nhello world\n", "line 2: 'hello world' names no object"),
        ("a.txt", b"<!DOCTYPE html><title>404</title>", "line 1"),
        ("a.csv", b"name,score\na,1\n", "has the columns name, score; expected one of uid, sha256"),
        ("a.csv", b"uid,score\n" + A.encode() + b",1\nnothing,2\n", "line 3: 'nothing' names no object"),
        ("a.csv", b"\x00\xff\xfe", "cannot be read"),
        ("a.json.gz", b"no gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(A.encode() * 100, mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"PAR1", "is of no known type; expected .txt, .csv or .json"),
    ],
)
def test_a_broken_list_is_one_line_that_names_the_place(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_uid_list(tmp_path / name)
    said = str(caught.value)
    assert words in said
    assert str(tmp_path / name) in said
    assert "\n" not in said


def test_a_missing_list_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no list of objects .*gone\.txt; put it there, or change catalog\.selection"
    ):
        read_uid_list(tmp_path / "gone.txt")
