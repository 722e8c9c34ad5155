"""What the `verify` flow shows in Prefect of what was found, however much that is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows import verification as flow
from stage.errors import ViewforgeError
from stage.workspace import Workspace
from upkeep.verification import Finding, Verification

DAMAGED = tuple(Finding("cache", f"object {n}", "its bytes are not its own", "dvc pull") for n in range(501))
SKIPPED = tuple(f"shoe version {n}: it carries no hash" for n in range(30))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the flow hands to Prefect."""
    found: dict[str, Any] = {}

    @contextmanager
    def opened(workspace: str) -> Iterator[Workspace]:
        yield Workspace(Path(workspace))

    monkeypatch.setattr(flow, "opened", opened)
    monkeypatch.setattr(flow, "create_table_artifact", lambda **given: found.update(given))
    return found


def test_a_dying_disk_gives_a_table_of_bounded_length(shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "verify", lambda _: Verification(DAMAGED, 900, 2**30, 3.0, SKIPPED))
    with pytest.raises(
        ViewforgeError, match=r"^501 of 900 things in 1024 MiB .*first: cache object 0: .*; dvc pull$"
    ) as caught:
        flow.verification.fn("w")
    assert [row["place"] for row in shown["table"]] == [f"object {n}" for n in range(500)]
    assert shown["table"][0]["remedy"] == "dvc pull"
    for text in (shown["description"], str(caught.value)):
        assert "501 of 900" in text
        assert "not looked at: shoe version 0: it carries no hash, " in text
        assert text.count("shoe version") == 5
        assert "and 25 more" in text


def test_a_sound_workspace_passes_and_says_what_was_not_looked_at(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "verify", lambda _: Verification((), 7, 2**20, 3.0, SKIPPED[:2]))
    assert flow.verification.fn("w") == {"checked": 7, "bytes": 2**20, "seconds": 3.0}
    assert shown["table"] == []
    assert shown["description"].endswith(f"not looked at: {SKIPPED[0]}, {SKIPPED[1]}")
