"""`viewforge weights` at the command line: what it says, and that mistakes leave nothing behind."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from weights_support import toy_modules

from cli.main import app
from stage.errors import InputError
from systems.cascade_zero123.pipeline import CascadePipeline
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


def test_a_cascades_refiner_becomes_plain_zero123(tmp_path, run):
    toy = toy_modules()
    parts = (toy.unet, toy.cc_projection, toy.unet, toy.cc_projection, toy.image_encoder, toy.vae, toy.scheduler)
    CascadePipeline(*parts).save_pretrained(tmp_path / "model", safe_serialization=True)
    of_cascade = ("--system", "cascade_zero123")
    folder = run("export", tmp_path / "model", "-o", tmp_path / "plain", *of_cascade)
    assert folder.stdout == f"export: cascade_zero123 in {tmp_path / 'plain'}\n"
    run("export", tmp_path / "plain", "-o", tmp_path / "plain.ckpt")
    direct = run("export", tmp_path / "model", "-o", tmp_path / "direct.ckpt", *of_cascade)
    assert f"its configuration in {tmp_path / 'direct.yaml'}" in direct.stdout
    assert (tmp_path / "direct.ckpt").read_bytes() == (tmp_path / "plain.ckpt").read_bytes()


def test_a_cascade_has_no_public_weights(tmp_path, run):
    with pytest.raises(InputError, match="never released"):
        run("import", tmp_path / "some.ckpt", "-o", tmp_path / "model", "--system", "cascade_zero123")
    assert list(tmp_path.iterdir()) == []
