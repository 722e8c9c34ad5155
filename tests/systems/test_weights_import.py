"""Public weights to a pipeline folder: files, the community's folders, image-variations, and their record."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel
from weights_support import EMBEDDING, assert_same_weights, community_folder, toy_modules

from stage.errors import InputError
from stage.files import file_sha256
from systems.zero123.community_folder import load_encoder, modules_from_folder
from systems.zero123.initialisation import new_projection, widen_input
from systems.zero123.ldm_export import export_folder, export_ldm
from systems.zero123.modules import Zero123Modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import load_pipeline
from systems.zero123.training import Zero123Training
from systems.zero123.weights_import import ImportOptions, import_weights


@pytest.fixture(scope="module")
def toy():
    return toy_modules()


def loaded(folder):
    pipeline = load_pipeline(folder)
    return Zero123Modules(
        pipeline.unet, pipeline.cc_projection, pipeline.image_encoder, pipeline.vae, pipeline.scheduler
    )


def test_a_checkpoint_becomes_a_pipeline_and_a_checkpoint_again(toy, tmp_path):
    export_ldm(toy, tmp_path / "toy.ckpt", step=105000)
    options = ImportOptions(configuration=tmp_path / "toy.yaml")
    record = import_weights(tmp_path / "toy.ckpt", tmp_path / "model", options)
    assert_same_weights(toy, loaded(tmp_path / "model"))
    assert record == json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert record["sha256"] == {"toy.ckpt": file_sha256(tmp_path / "toy.ckpt")}
    assert (record["source"], record["weights"], record["step"]) == ("toy.ckpt", "ema", 105000)
    export_folder(tmp_path / "model", tmp_path / "again" / "toy.ckpt")
    assert (tmp_path / "again" / "toy.ckpt").read_bytes() == (tmp_path / "toy.ckpt").read_bytes()


def test_an_imported_folder_samples_and_trains(toy, tmp_path, poses):
    export_ldm(toy, tmp_path / "toy.ckpt")
    import_weights(tmp_path / "toy.ckpt", tmp_path / "model", ImportOptions(configuration=tmp_path / "toy.yaml"))
    pipeline = load_pipeline(tmp_path / "model")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.image_size == 16
    noise = torch.Generator().manual_seed(0)
    views = pipeline(torch.zeros(2, 3, 16, 16), poses(2), num_inference_steps=3, generator=noise).images
    assert views.shape == (2, 3, 16, 16)
    assert views.isfinite().all()
    system = Zero123Training(Zero123Parameters(pretrained=str(tmp_path / "model")), 0, 16)
    assert_same_weights(toy, system.system)


@pytest.mark.parametrize("projection", ["cc_projection", "clip_camera_projection"])
@pytest.mark.parametrize("pickled", [False, True])
def test_a_community_folder_becomes_a_pipeline(toy, tmp_path, projection, pickled):
    source = community_folder(tmp_path / "source", toy, projection, pickled)
    record = import_weights(source, tmp_path / "model", ImportOptions())
    assert_same_weights(toy, loaded(tmp_path / "model"))
    assert record["format"] == "diffusers"
    assert "unet/config.json" in record["sha256"]


def test_image_variations_begin_training_as_published(tmp_path):
    old = toy_modules(unet_input=4)
    source = community_folder(tmp_path / "source", old, projection=None)
    import_weights(source, tmp_path / "model", ImportOptions(seed=5))
    modules = loaded(tmp_path / "model")
    latent, condition = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    token = torch.randn(2, 1, EMBEDDING)
    with torch.no_grad():
        before = old.unet(latent, 7, encoder_hidden_states=token).sample
        after = modules.unet(torch.cat([latent, condition], dim=1), 7, encoder_hidden_states=token).sample
        passed = modules.cc_projection(token[:, 0], torch.zeros(2, 4))
    # The new channels add zeros, in another order of summation.
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    assert torch.equal(passed, token)
    pose = modules.cc_projection.linear.weight[:, EMBEDDING:]
    assert pose.abs().min() > 0
    assert torch.equal(pose, new_projection(EMBEDDING, 5).linear.weight[:, EMBEDDING:])
    assert not torch.equal(pose, new_projection(EMBEDDING, 6).linear.weight[:, EMBEDDING:])


def test_new_projections_leave_the_callers_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    new_projection(EMBEDDING, 5)
    assert torch.equal(torch.rand(3), expected)


def test_a_wide_input_is_not_narrowed(toy):
    with pytest.raises(InputError, match="8 input channels"):
        widen_input(toy.unet, 4)


def test_a_variant_is_taken_where_it_is_named(toy, tmp_path):
    source = community_folder(tmp_path / "source", toy)
    other = toy_modules(seed=1)
    for part in ("unet", "vae", "image_encoder"):
        getattr(other, part).half().save_pretrained(source / part, variant="fp16_ema")
    weights = {f"projection.{name}": value.half() for name, value in other.cc_projection.linear.state_dict().items()}
    torch.save(weights, source / "cc_projection" / "diffusion_pytorch_model.fp16_ema.bin")
    found = modules_from_folder(source, variant="fp16_ema")
    assert_same_weights(
        found,
        Zero123Modules(
            other.unet.float(),
            other.cc_projection.half().float(),
            other.image_encoder.float(),
            other.vae.float(),
            None,
        ),
    )
    with pytest.raises(InputError, match="no files of the variant int8"):
        modules_from_folder(source, variant="int8")


def test_a_whole_clip_gives_its_image_encoder(toy, tmp_path):
    torch.manual_seed(7)
    vision = toy.image_encoder.config.to_dict()
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 99,
    }
    clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=EMBEDDING))
    clip.save_pretrained(tmp_path / "clip")
    encoder = load_encoder(tmp_path / "clip").state_dict()
    whole = clip.state_dict()
    assert len(encoder) == len(toy.image_encoder.state_dict())
    assert [name for name in encoder if not torch.equal(encoder[name], whole[name])] == []


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder"])
def test_weights_that_do_not_fit_are_listed(toy, tmp_path, part):
    source = community_folder(tmp_path / "source", toy)
    name = "model.safetensors" if part == "image_encoder" else "diffusion_pytorch_model.safetensors"
    weights = load_file(source / part / name)
    first, second, *_ = sorted(weights)
    del weights[first]
    weights[second] = torch.zeros(7, 7)
    weights["stranger.weight"] = torch.zeros(2)
    save_file(weights, source / part / name, metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 weights missing, 1 superfluous, 1 of another shape") as caught:
        import_weights(source, tmp_path / "model", ImportOptions())
    text = str(caught.value)
    assert f"{part}: {first}: expected" in text
    assert f"{part}: {second}: expected" in text
    assert "found (7, 7)" in text
    assert f"{part}: stranger.weight: expected nothing, found (2,)" in text
    assert not (tmp_path / "model").exists()


def test_folders_that_are_no_source_are_refused(toy, tmp_path):
    source = community_folder(tmp_path / "source", toy)
    shutil.rmtree(source / "cc_projection")
    with pytest.raises(InputError, match="no cc_projection or clip_camera_projection"):
        modules_from_folder(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no diffusers pipeline"):
        import_weights(tmp_path / "empty", tmp_path / "model", ImportOptions())
    export_ldm(toy, tmp_path / "toy.ckpt")
    import_weights(tmp_path / "toy.ckpt", tmp_path / "model", ImportOptions(configuration=tmp_path / "toy.yaml"))
    with pytest.raises(InputError, match="ours already"):
        import_weights(tmp_path / "model", tmp_path / "model2", ImportOptions())
    with pytest.raises(InputError, match="holds the source"):
        import_weights(tmp_path / "toy.ckpt", tmp_path, ImportOptions())


class Attack:
    """Touches a file when it is unpickled by a reader that runs what a pickle says."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "cc_projection"])
def test_a_pickle_with_code_in_a_folder_is_refused(toy, tmp_path, part):
    source = community_folder(tmp_path / "source", toy, pickled=True)
    (file,) = (source / part).glob("*.bin")
    torch.save({"x": Attack(tmp_path / "ran")}, file)
    with pytest.raises(InputError, match=rf"{part}/.*posix\.system"):
        modules_from_folder(source)
    assert not (tmp_path / "ran").exists()


def test_unconverted_weights_name_the_command_that_converts_them(toy, tmp_path):
    export_ldm(toy, tmp_path / "toy.ckpt")
    source = community_folder(tmp_path / "source", toy)
    for place in (tmp_path / "toy.ckpt", source):
        with pytest.raises(InputError, match=f"viewforge weights import {place}"):
            Zero123Training(Zero123Parameters(pretrained=str(place)), 0, 16)


def test_a_failed_import_leaves_the_folder_that_was_there(toy, tmp_path):
    export_ldm(toy, tmp_path / "toy.ckpt")
    options = ImportOptions(configuration=tmp_path / "toy.yaml")
    import_weights(tmp_path / "toy.ckpt", tmp_path / "model", options)
    with pytest.raises(InputError, match="does not fit"):
        import_weights(tmp_path / "toy.ckpt", tmp_path / "model", ImportOptions())
    assert_same_weights(toy, loaded(tmp_path / "model"))
