"""Lists of objects as their authors publish them: lines, JSON or CSV, plain or gzipped.

An entry is a uid, a path or address that ends in one (`000-023/UID`, `glbs/000-023/UID.glb`, a page of Sketchfab), or a SHA-256
sum of the file. So LGM's `kiuisobj_v1.txt` and `kiuisobj_v1_merged_80K.csv` are read, LVIS (`{category: [uid]}`), Objaverse's
`object-paths.json.gz`, TRELLIS-500K's and Objaverse++'s tables. G-Objaverse numbers its objects (`28/151384` in
`gobj_merged.json`); its own index file translates them.
"""

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from stage.errors import InputError
from stage.foreign_files import BoundedGzip

Kind = Literal["uid", "sha256", "number"]
_TYPES = ".txt, .csv or .json, as it is or gzipped"
_EXPECTED_INDEX = 'expected {"0/10005": "000-142/UID.glb", …} with all numbers of the list'
_EXPECTED = "expected uids, paths that end in one, or SHA-256 sums"
# Sketchfab's uids are 32 hexadecimal digits; its oldest are 27 letters and digits.
_UID = re.compile(r"(?:.*[/-])?((?=[A-Za-z]*\d)[0-9A-Za-z]{20,40})(?:\.\w+)*")
_SHA256 = re.compile(r"(?:.*/)?([0-9A-Fa-f]{64})(?:\.\w+)*")
_NUMBER = re.compile(r"\d{1,4}/\d{1,8}")
# Columns and keys that name an object; all others describe it.
_COLUMNS = {"uid", "object_id", "objaverse_id", "id", "sha256", "file_identifier", "fileidentifier"}


@dataclass(frozen=True)
class UidList:
    """The objects of a list. One that gives uid and sum of its objects, as TRELLIS-500K does, has both."""

    uids: frozenset[str]
    sha256s: frozenset[str]
    """Lower case."""

    def holds(self, uid: str, sha256: str) -> bool:
        """Whether an object is on the list, by its uid or by its file's SHA-256 sum."""
        return uid in self.uids or sha256 in self.sha256s


class _Record(tuple[str, ...]):
    """What names one object: its uid, its sum, or both. One of them must be readable."""

    __slots__ = ()


def read_uid_list(path: Path, index: Path | None = None) -> UidList:
    """Read a list of objects.

    Args:
        path: the list.
        index: G-Objaverse's `gobjaverse_280k_index_to_objaverse.json` (number to path), for lists of its numbers.

    Raises:
        InputError: when the list or the index is missing, damaged or empty, or an entry names no object.
    """
    found: dict[Kind, set[str]] = {"uid": set(), "sha256": set(), "number": set()}
    for place, record in _entries(path):
        named = [pair for pair in map(_identified, record) if pair]
        if not named:
            raise InputError(f"{path}, {place}: {' '.join(record)[:60]!r} names no object", _EXPECTED)
        # A number beside the uid or sum of the same object says nothing more.
        for kind, identifier in [pair for pair in named if pair[0] != "number"] or named:
            found[kind].add(identifier)
    if found["number"]:
        found["uid"] |= _translated(found["number"], path, index)
    if not found["uid"] and not found["sha256"]:
        raise InputError(f"{path} is empty", _EXPECTED)
    return UidList(frozenset(found["uid"]), frozenset(found["sha256"]))


def _identified(text: str) -> tuple[Kind, str] | None:
    text = text.strip()
    if match := _SHA256.fullmatch(text):
        return "sha256", match[1].lower()
    if match := _UID.fullmatch(text):
        # Other addresses end in a file's name, which may look like a uid.
        return ("uid", match[1]) if "://" not in text or "sketchfab.com/" in text else None
    return ("number", text) if _NUMBER.fullmatch(text) else None


def _translated(numbers: set[str], path: Path, index: Path | None) -> set[str]:
    """The uids that G-Objaverse's numbers stand for."""
    if index is None:
        raise InputError(
            f"{path} holds numbers of G-Objaverse, {min(numbers)} among them",
            "set catalog.selection.uid_index to its gobjaverse_280k_index_to_objaverse.json",
        )
    with _opened(index) as stream:
        values = json.load(stream)
    uids = values if isinstance(values, dict) else {}
    missing = numbers - uids.keys()
    if missing:
        raise InputError(f"{index} lacks {len(missing)} numbers of {path}, {min(missing)} among them", _EXPECTED_INDEX)
    named = {number: _identified(str(uids[number])) for number in numbers}
    if unnamed := sorted(number for number, pair in named.items() if pair is None or pair[0] != "uid"):
        raise InputError(f"{index}: {unnamed[0]} leads to no uid", _EXPECTED_INDEX)
    return {pair[1] for pair in named.values() if pair}


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The text of a list; what goes wrong while it is read becomes one line."""
    try:
        with (
            io.TextIOWrapper(BoundedGzip(path), encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as stream
        ):
            yield stream
    except FileNotFoundError:
        raise InputError(f"no list of objects {path}", "put it there, or change catalog.selection") from None
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}", f"expected {_TYPES}") from None


def _entries(path: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Where each entry stands, and the texts of which at least one must name its object."""
    file_type = Path(path.name.removesuffix(".gz")).suffix
    if file_type not in _READERS:
        raise InputError(f"{path} is of no known type", f"expected {_TYPES}")
    with _opened(path) as stream:
        yield from _READERS[file_type](stream, path)


def _lines(stream: TextIO, _: Path) -> Iterator[tuple[str, Sequence[str]]]:
    for number, line in enumerate(stream, 1):
        if line.strip() and not line.startswith("#"):
            yield f"line {number}", line.replace(",", " ").split()


def _rows(stream: TextIO, path: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """With or without a header: the first row is one unless it names an object."""
    reader = csv.reader(stream)
    header = next(reader, [])
    columns = list(range(len(header)))
    if any(map(_identified, header)):
        yield "line 1", header
    else:
        columns = [number for number, name in enumerate(header) if name.strip().lower() in _COLUMNS]
        if header and not columns:
            raise InputError(
                f"{path} has the columns {', '.join(header)[:80]}", "expected one of uid, sha256, file_identifier"
            )
    for row in reader:
        if row:
            yield f"line {reader.line_num}", [row[number] for number in columns if number < len(row)]


def _json(stream: TextIO, _: Path) -> Iterator[tuple[str, Sequence[str]]]:
    # Reduced while it is parsed: a table of annotations is much larger than the uids in it.
    values = json.load(stream, object_pairs_hook=_reduced)
    for number, record in enumerate(_records(values), 1):
        yield f"entry {number}", record


def _reduced(pairs: list[tuple[str, Any]]) -> Any:  # noqa: ANN401 - JSON is any value
    """What a JSON mapping says about objects: it describes one, or its keys name them, or its values do."""
    record = [value for key, value in pairs if key.lower() in _COLUMNS and isinstance(value, str)]
    if record:
        return _Record(record)
    return [_key_or_value(key, value) for key, value in pairs]


def _key_or_value(key: str, value: Any) -> Any:  # noqa: ANN401 - JSON is any value
    named = _identified(key)
    if named is None or (named[0] == "number" and isinstance(value, str)):
        return value
    return key


def _records(value: Any) -> Iterator[Sequence[str]]:  # noqa: ANN401 - JSON is any value
    """Texts at any depth, one by one; numbers are scores."""
    if isinstance(value, _Record):
        yield value
    elif isinstance(value, str):
        yield (value,)
    elif isinstance(value, list):
        for item in value:
            yield from _records(item)


_READERS: dict[str, Callable[[TextIO, Path], Iterator[tuple[str, Sequence[str]]]]] = {
    ".txt": _lines,
    ".csv": _rows,
    ".json": _json,
}
