"""A tiny model, and a studio on it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from demo_support import tiny_pipeline
from PIL import Image

from demo.limits import Limits
from demo.studio import Studio
from stage.workspace import Workspace


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("demo") / "tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A red square in the middle of nothing."""
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[8:24, 8:24] = (200, 40, 40, 255)
    Image.fromarray(rgba).save(tmp_path / "red square.png")
    return tmp_path / "red square.png"


@pytest.fixture
def studio(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """On the CPU, without a registry."""
    monkeypatch.setattr("demo.models.ModelCatalogue._registered", lambda _: [])
    made = Studio(Workspace(tmp_path / "workspace"), (model,), Limits(most_waiting=2), ["cpu"])
    yield made
    made.close()
