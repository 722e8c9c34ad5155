"""A checkpoint of ZeroNVS' to a pipeline folder and back, with the mode that it was trained under."""

import json

import pytest
import torch
import yaml
from weights_support import EMBEDDING, assert_same_weights, community_folder, toy_modules

from stage.errors import InputError, ParameterError
from systems.zero123.conditioning import CCProjection
from systems.zero123.ldm_export import export_ldm, modules_of
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero123.weights_import import ImportOptions
from systems.zeronvs.parameters import ZeroNvsParameters
from systems.zeronvs.pipeline import ZeroNvsPipeline
from systems.zeronvs.training import ZeroNvsTraining
from systems.zeronvs.weights import export_folder, import_weights


@pytest.fixture(scope="module")
def toy():
    """The published shape at toy size, with a projection of 19 pose columns."""
    modules = toy_modules()
    modules.cc_projection = CCProjection(EMBEDDING, 19)
    return modules


def exported(toy, folder, conditioning=None):
    """Options to read `folder/toy.ckpt`, which is written as its publishers would."""
    export_ldm(toy, folder / "toy.ckpt", step=60000, conditioning=conditioning)
    return ImportOptions(configuration=folder / "toy.yaml")


def loaded(folder):
    return read_pipeline(ZeroNvsPipeline, folder)


def test_a_checkpoint_becomes_a_pipeline_and_a_checkpoint_again(toy, tmp_path):
    options = exported(toy, tmp_path, {"mode": "7dof", "embedding_dim": 19})
    weights = torch.load(tmp_path / "toy.ckpt", weights_only=True)["state_dict"]
    assert weights["cc_projection.weight"].shape == (EMBEDDING, EMBEDDING + 19)
    record = import_weights(tmp_path / "toy.ckpt", tmp_path / "model", options)
    assert (record["mode"], record["step"], record["format"]) == ("7dof", 60000, "ldm")
    assert record == json.loads((tmp_path / "model" / "provenance.json").read_text())
    pipeline = loaded(tmp_path / "model")
    assert_same_weights(toy, modules_of(pipeline))
    assert pipeline.config.mode == "7dof"
    export_folder(tmp_path / "model", tmp_path / "again" / "toy.ckpt")
    for name in ("toy.ckpt", "toy.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    section = yaml.safe_load((tmp_path / "again" / "toy.yaml").read_text())["model"]["params"]["conditioning_config"]
    assert section == {"params": {"mode": "7dof", "embedding_dim": 19}}


def test_the_mode_is_the_released_one_unless_it_is_said(toy, tmp_path):
    options = exported(toy, tmp_path)
    assert import_weights(tmp_path / "toy.ckpt", tmp_path / "one", options)["mode"] == "7dof_quantile_scale"
    assert loaded(tmp_path / "one").config.mode == "7dof_quantile_scale"
    import_weights(tmp_path / "toy.ckpt", tmp_path / "other", options, "7dof_unscaled")
    assert loaded(tmp_path / "other").config.mode == "7dof_unscaled"
    # What is said on the command line outweighs the file, which may be that of another run.
    options = exported(toy, tmp_path, {"mode": "3dof", "embedding_dim": 4})
    assert import_weights(tmp_path / "toy.ckpt", tmp_path / "third", options, "7dof")["mode"] == "7dof"


def test_an_imported_folder_trains_on(toy, tmp_path):
    import_weights(tmp_path / "toy.ckpt", tmp_path / "model", exported(toy, tmp_path))
    system = ZeroNvsTraining(ZeroNvsParameters(pretrained=str(tmp_path / "model")), 0, 16)
    assert_same_weights(toy, system.system)


def test_modes_that_do_not_fit_are_refused(toy, tmp_path):
    options = exported(toy, tmp_path)
    with pytest.raises(InputError, match=r"cc_projection\.weight: expected \(16, 20\), found \(16, 35\)"):
        import_weights(tmp_path / "toy.ckpt", tmp_path / "model", options, "3dof")
    with pytest.raises(ParameterError, match=r"no conditioning mode 7dof_qs, .*the modes are 3dof"):
        import_weights(tmp_path / "toy.ckpt", tmp_path / "model", exported(toy, tmp_path, {"mode": "7dof_qs"}))
    with pytest.raises(InputError, match="names no conditioning mode; give it with --mode"):
        import_weights(tmp_path / "toy.ckpt", tmp_path / "model", exported(toy, tmp_path, {"embedding_dim": 19}))
    assert not (tmp_path / "model").exists()


def test_weights_of_zero123_are_no_zeronvs(tmp_path):
    zero123 = toy_modules()
    with pytest.raises(InputError, match=r"cc_projection\.weight: expected \(16, 35\), found \(16, 20\)"):
        import_weights(tmp_path / "toy.ckpt", tmp_path / "model", exported(zero123, tmp_path))
    source = community_folder(tmp_path / "source", zero123)
    with pytest.raises(InputError, match=r"is published as a checkpoint file; give the \.ckpt"):
        import_weights(source, tmp_path / "model", ImportOptions())
