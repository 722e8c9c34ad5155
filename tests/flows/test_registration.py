"""Which trained systems the pipeline registers."""

import json
import logging

import pytest

from flows import promotion
from stage.workspace import Workspace


@pytest.mark.parametrize(
    ("system", "served"),
    [
        ("Zero123Pipeline", True),
        ("CascadePipeline", True),
        ("ZeroNvsPipeline", False),
        ("Zero1ToGPipeline", False),
        ("Zero1ToGGridPipeline", False),
    ],
)
def test_a_system_that_takes_cameras_is_not_registered_and_the_log_says_so(
    tmp_path, monkeypatch, caplog, system, served
):
    workspace = Workspace(tmp_path)
    workspace.model.mkdir(parents=True)
    (workspace.model / "model_index.json").write_text(json.dumps({"_class_name": system}))
    workspace.parameters.write_text("seed: 0\n")
    monkeypatch.setattr(promotion, "get_run_logger", logging.getLogger)
    assert promotion.is_served(workspace) == served
    assert ("not registered: " in caplog.text) == (not served)
