"""What an evaluation shows in Prefect: figures with intervals, words, a picture."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from flows import artifacts, verification
from stage.errors import ViewforgeError
from stage.files import write_json
from stage.workspace import Workspace
from upkeep.verification import Finding, Verification

METRIC = {"name": "psnr", "title": "PSNR", "unit": "dB", "better": "higher", "scope": "view", "digits": 2}


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What `publish_results` shows of an evaluation of one object, by key."""
    place = Workspace(tmp_path)
    figures = {"model": 18.0, "copy_input": 17.0, "mean_image": 19.0, "autoencoder": "not available"}
    means = {method: {"psnr": value, "lpips": "not available"} for method, value in figures.items()}
    write_json(
        place.evaluation / "metrics.json",
        {"unseen": means, "unseen_objects": 1, "intervals": {"unseen": {"model": {"psnr": [16.0, 20.0]}}}},
    )
    lpips = {**METRIC, "name": "lpips", "title": "LPIPS", "unit": "", "better": "lower"}
    write_json(place.evaluation / "details.json", {"metrics": [METRIC, lpips]})
    rows = [
        {"uid": "u", "title": "thing", "subset": "unseen", "method": m, "psnr": v}
        for m, v in figures.items()
        if m != "autoencoder"
    ]
    pd.DataFrame(rows).to_parquet(place.evaluation / "per_object.parquet", index=False)
    Image.new("RGB", (4, 4)).save(place.evaluation / "contact_sheet.png")
    found: dict[str, dict[str, Any]] = {}
    for kind in ("table", "image", "markdown"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", lambda **given: found.update({given["key"]: given}))
    artifacts.publish_results(place)
    return found


def test_figures_stand_with_their_intervals(shown: dict[str, dict[str, Any]]) -> None:
    rows = {row["method"]: row for row in shown["metrics"]["table"]}
    assert rows["model"] == {"method": "model", "PSNR, dB ↑": "18.00 [16.00, 20.00]", "LPIPS ↓": "not available"}
    assert rows["copy the input view"]["PSNR, dB ↑"] == "17.00"
    assert rows["truth through the autoencoder"]["PSNR, dB ↑"] == "not available"


def test_what_a_verification_shows_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an object store answers to a signed address, as a finding and as what could not be looked at."""
    problem = "403 for https://store.example/model?X-Amz-Signature=canary4711"
    found = Verification((Finding("model", "thing 1", problem, "restore it"),), 3, 0, 0.0, (problem,))
    shown: dict[str, Any] = {}
    monkeypatch.setattr(verification, "verify", lambda _: found)
    monkeypatch.setattr(verification, "create_table_artifact", lambda **given: shown.update(given))
    monkeypatch.setattr(verification, "opened", lambda root: nullcontext(Workspace(Path(root))))
    with pytest.raises(ViewforgeError, match=r"403 for https://store\.example/model") as caught:
        verification.verification.fn(str(tmp_path))
    assert "canary4711" not in f"{shown} {caught.value}"
    assert shown["table"][0]["problem"] == "403 for https://store.example/model"


def test_the_result_is_said_in_words_and_shown(shown: dict[str, dict[str, Any]]) -> None:
    assert "beats copying the input view but not the mean training image" in shown["evaluation"]["markdown"]
    assert "18.00 dB PSNR" in shown["evaluation"]["markdown"]
    assert shown["contact-sheet"]["image_url"].startswith("data:image/jpeg;base64,")
