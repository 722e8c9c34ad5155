"""`viewforge weights` at the command line: what it says, and that mistakes leave nothing behind."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from weights_support import toy_modules

from cli.main import app
from stage.errors import InputError, ParameterError
from systems.zero123.conditioning import CCProjection
from systems.zero123.ldm_export import export_ldm


@pytest.fixture
def run():
    """Runs `viewforge weights ARGUMENTS` in this process; errors are raised."""

    def invoke(*arguments):
        result = CliRunner().invoke(app, ["weights", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_there_and_back(tmp_path, run):
    export_ldm(toy_modules(), tmp_path / "toy.ckpt", step=105000)
    config = ("--config", tmp_path / "toy.yaml")
    imported = run("import", tmp_path / "toy.ckpt", "-o", tmp_path / "model", "--system", "zero123", *config)
    assert "import: zero123 at step 105,000 from" in imported.stdout
    exported = run("export", tmp_path / "model", "-o", tmp_path / "back.ckpt")
    assert f"its configuration in {tmp_path / 'back.yaml'}" in exported.stdout
    assert (tmp_path / "back.ckpt").read_bytes() == (tmp_path / "toy.ckpt").read_bytes()


def test_what_was_read_past_is_said(tmp_path, run):
    export_ldm(toy_modules(), tmp_path / "toy.ckpt")
    content = torch.load(tmp_path / "toy.ckpt", weights_only=True)
    torch.save(content | {"best": np.float64(1.0)}, tmp_path / "toy.ckpt")
    config = ("--config", tmp_path / "toy.yaml")
    result = run("import", tmp_path / "toy.ckpt", "-o", tmp_path / "model", "--weights", "raw", *config)
    assert "import: read past numpy.dtype without running it" in result.stdout


def test_an_output_that_is_no_checkpoint_is_refused(tmp_path, run):
    with pytest.raises(InputError, match=r"does not end in \.ckpt"):
        run("export", tmp_path, "-o", tmp_path / "back.pth")
    with pytest.raises(InputError, match="no diffusers pipeline"):
        run("export", tmp_path, "-o", tmp_path / "back.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_zeronvs_there_and_back(tmp_path, run):
    modules = toy_modules()
    modules.cc_projection = CCProjection(modules.cc_projection.config.embedding_dim, 19)
    export_ldm(modules, tmp_path / "toy.ckpt", step=60000, conditioning={"mode": "7dof", "embedding_dim": 19})
    system = ("--system", "zeronvs")
    config = ("--config", tmp_path / "toy.yaml")
    imported = run("import", tmp_path / "toy.ckpt", "-o", tmp_path / "model", *system, *config)
    assert "import: zeronvs at step 60,000 from" in imported.stdout
    run("export", tmp_path / "model", "-o", tmp_path / "back.ckpt", *system)
    assert (tmp_path / "back.ckpt").read_bytes() == (tmp_path / "toy.ckpt").read_bytes()
    with pytest.raises(ParameterError, match="zero123 has no conditioning modes"):
        run("import", tmp_path / "toy.ckpt", "-o", tmp_path / "other", *config, "--mode", "7dof")
