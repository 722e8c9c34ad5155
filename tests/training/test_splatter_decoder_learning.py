"""The proof that the stage `decoder` learns: of a VAE that knows pictures it makes one of splatter images."""

from pathlib import Path

import pytest

from benchmarks.splatter_autoencoder import QUICK, gains
from stage.workspace import Workspace

REQUIRED_DB = 2.0


@pytest.mark.slow
@pytest.mark.minutes(4)
@pytest.mark.timeout(1200)
def test_fine_tuning_the_decoder_wins_back_what_a_vae_of_pictures_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Composed objects through all stages from catalogue to decoder; objects of the split val are in no training."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    gained = gains(Workspace(tmp_path / "workspace"), QUICK)
    assert gained["training"] >= REQUIRED_DB
    assert gained["unseen"] >= REQUIRED_DB
