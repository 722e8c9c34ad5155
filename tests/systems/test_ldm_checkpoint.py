"""Checkpoints of strangers: read without running a line of theirs, or refused in one line."""

import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from stage.errors import InputError
from systems.zero123.ldm_checkpoint import read_checkpoint

WEIGHTS = {"model.weight": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture
def stranger(monkeypatch):
    """Classes of modules that exist only while a file is written."""

    def made(module, name, *bases):
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
        kind = type(name, bases, {"__module__": module})
        setattr(sys.modules[module], name, kind)
        return kind

    return made


def saved(path, **extras):
    torch.save({"global_step": 105000, "state_dict": WEIGHTS, **extras}, path)
    return path


def test_weights_and_step_of_a_plain_checkpoint(tmp_path):
    found = read_checkpoint(saved(tmp_path / "a.ckpt", optimizer_states=[{"state": {0: torch.zeros(2)}}]))
    assert found.step == 105000
    assert found.passed_over == ()
    assert torch.equal(found.weights["model.weight"], WEIGHTS["model.weight"])


def test_lightning_and_omegaconf_bookkeeping_is_read_past(tmp_path, stranger, monkeypatch):
    callback = stranger("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    ran = []
    callback.__setstate__ = lambda _, state: ran.append(state)
    instance = callback()
    instance.best = 3
    path = saved(
        tmp_path / "a.ckpt",
        callbacks={callback: {"best_model_score": torch.tensor(1.0), "self": instance}},
        hyper_parameters=OmegaConf.create({"unet": {"channels": [1, 2]}}),
        score=np.float64(2.0),
    )
    found = read_checkpoint(path)
    assert torch.equal(found.weights["model.weight"], WEIGHTS["model.weight"])
    assert "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint" in found.passed_over
    assert "omegaconf.dictconfig.DictConfig" in found.passed_over
    assert ran == []


def test_lightning_parameters_that_are_a_mapping_are_read_past(tmp_path, stranger):
    kind = stranger("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    found = read_checkpoint(saved(tmp_path / "a.ckpt", hyper_parameters=kind(lr=1e-4)))
    assert found.weights.keys() == WEIGHTS.keys()


def test_an_unknown_class_is_named_and_can_be_read_past_unrun(tmp_path, stranger):
    kind = stranger("lab.callbacks", "Logger")
    ran = []
    kind.__reduce__ = lambda _: (kind, (1,))
    kind.__init__ = lambda *_: ran.append("made")
    path = saved(tmp_path / "a.ckpt", callbacks=[kind()])
    ran.clear()
    with pytest.raises(InputError, match=r"names lab\.callbacks\.Logger.*--ignore-class lab\.callbacks\.Logger"):
        read_checkpoint(path)
    assert read_checkpoint(path, ["lab.callbacks.Logger"]).passed_over == ("lab.callbacks.Logger",)
    assert ran == []


class Attack:
    """Touches a file when it is unpickled by a reader that runs what a pickle says."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("ignored", [(), ("posix.system",)])
def test_an_attack_is_refused_whatever_is_ignored(tmp_path, archive, ignored):
    mark = tmp_path / "ran"
    path = tmp_path / "a.ckpt"
    content = {"state_dict": WEIGHTS, "callbacks": Attack(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(InputError, match=r"posix\.system") as caught:
        read_checkpoint(path, ignored)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_attack_works_where_pickles_are_run(tmp_path):
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Attack(mark)))
    assert mark.exists()


def test_a_class_in_the_place_of_a_weight_is_refused(tmp_path, stranger):
    kind = stranger("pytorch_lightning.core", "Weight")
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {**WEIGHTS, "model.bias": kind()}}, path)
    with pytest.raises(InputError, match=r"no tensor under model\.bias"):
        read_checkpoint(path)


def test_older_formats_and_safetensors(tmp_path):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    torch.save(WEIGHTS, tmp_path / "flat.pth")
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    for name in ("old.ckpt", "flat.pth", "a.safetensors"):
        found = read_checkpoint(tmp_path / name)
        assert torch.equal(found.weights["model.weight"], WEIGHTS["model.weight"])
        assert found.step is None


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path):
    pointer = tmp_path / "pointer.ckpt"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 15\n")
    page = tmp_path / "page.ckpt"
    page.write_text("<html>not found</html>")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(saved(tmp_path / "a.ckpt").read_bytes()[:900])
    cut_safetensors = tmp_path / "cut.safetensors"
    save_file(WEIGHTS, cut_safetensors)
    cut_safetensors.write_bytes(cut_safetensors.read_bytes()[:-4])
    numbers = tmp_path / "numbers.ckpt"
    torch.save([1, 2], numbers)
    empty = tmp_path / "empty.ckpt"
    torch.save({"state_dict": {}}, empty)
    foreign = tmp_path / "foreign.ckpt"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "no pickle")
    cases = {
        pointer: "Git LFS pointer",
        page: "no checkpoint but begins with b'<html>",
        cut: "cannot be read",
        cut_safetensors: "cannot be read",
        numbers: "holds a list",
        empty: "holds no weights",
        foreign: "cannot be read",
        tmp_path / "absent.ckpt": "no checkpoint",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
