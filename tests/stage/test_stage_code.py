"""Code fingerprints: what a function does counts, how it is explained and laid out does not."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stage import code
from stage.code import source_fingerprint

_PLAIN = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The fingerprint of a module with the given source."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(source: str) -> str:
        (tmp_path / "some_worker.py").write_text(source)
        importlib.invalidate_caches()
        code._tree.cache_clear()
        return source_fingerprint(["some_worker"])

    return of


@pytest.mark.parametrize(
    "explained",
    [
        '"""A module."""\n' + _PLAIN,
        "# why\ndef double(x):  # what\n\n\n    return 2 * x\n",
        'def double(x):\n    """Twice x."""\n    return (2 *\n            x)\n',
    ],
    ids=["module docstring", "comments and blank lines", "docstring and layout"],
)
def test_explanations_and_layout_do_not_count(explained: str, fingerprint: Callable[[str], str]) -> None:
    assert fingerprint(explained) == fingerprint(_PLAIN)


@pytest.mark.parametrize(
    "changed", [_PLAIN.replace("2", "3"), _PLAIN + "double.name = 'x'\n", _PLAIN.replace("x", "y")]
)
def test_code_counts(changed: str, fingerprint: Callable[[str], str]) -> None:
    assert fingerprint(changed) != fingerprint(_PLAIN)


def test_text_that_is_used_counts(fingerprint: Callable[[str], str]) -> None:
    assert fingerprint("NAME = 'a'") != fingerprint("NAME = 'b'")


def test_the_module_is_not_run(fingerprint: Callable[[str], str]) -> None:
    assert fingerprint("raise SystemExit")


def test_the_order_of_modules_does_not_count_and_each_of_them_does() -> None:
    pair = source_fingerprint(["stage.seeds", "stage.files"])
    assert pair == source_fingerprint(["stage.files", "stage.seeds"])
    assert pair != source_fingerprint(["stage.files"])


@pytest.mark.parametrize("name", ["stage.nowhere", "nowhere_at_all"])
def test_a_module_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        source_fingerprint([name])
