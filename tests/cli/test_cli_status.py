"""`viewforge status`: what was measured, whatever was asked for."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from stage.workspace import Workspace


def test_methods_without_psnr_cost_nobody_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.graph.stage_order", lambda _: ["evaluate"])
    monkeypatch.setattr("flows.graph.stale_stages", lambda _: {})
    figures = {
        "model": {"psnr": 20.0, "ssim": 0.9, "sift_matches": 11.0},
        "autoencoder": {"psnr": "not available", "ssim": "not available"},
        "truth": {"sift_matches": 12.0},
    }
    place = Workspace(tmp_path)
    place.evaluation.mkdir(parents=True)
    (place.evaluation / "metrics.json").write_text(json.dumps({"unseen": figures}))
    result = CliRunner().invoke(app, ["status", "-w", str(tmp_path)], catch_exceptions=False)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "model PSNR 20.00 dB, SSIM 0.900, SIFT matches 11.00 on unseen objects" in lines
    assert "autoencoder not available on unseen objects" in lines
    assert "truth SIFT matches 12.00 on unseen objects" in lines
