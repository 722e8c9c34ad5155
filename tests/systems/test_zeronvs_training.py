"""ZeroNVS as it is trained: what it is told of cameras, what it begins from, and that what is saved samples the same."""

import numpy as np
import pytest
import torch
from pair_views import views_of

from geometry.cameras import look_at
from stage.errors import InputError, ParameterError
from stage.parameters import validated
from stage.seeds import derive_seed
from systems.trainable import Views
from systems.zero123.initialisation import new_projection
from systems.zero123.loss import training_loss
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero123.training import Zero123Training
from systems.zeronvs.conditioning import fov_of, pose_dimensions, pose_vector
from systems.zeronvs.modes import MODES
from systems.zeronvs.parameters import ZeroNvsParameters
from systems.zeronvs.pipeline import ZeroNvsPipeline
from systems.zeronvs.training import ZeroNvsTraining

SIZE = 16
SCALES = [3.0, 0.5, 2.0]


@pytest.fixture(scope="session")
def small(tiny):
    """Parameters of a tiny system; keywords replace them."""
    return lambda **changes: ZeroNvsParameters(**tiny().model_dump() | changes)


def views(scales=SCALES, samples=3) -> Views:
    """Pictures of noise; cameras that look anywhere, of a lens as wide as the picture."""
    chance = np.random.default_rng(1)
    rgba = torch.from_numpy(chance.integers(0, 256, (samples, 2, SIZE, SIZE, 4), dtype=np.uint8))
    places = chance.normal(size=(samples * 2, 2, 3))
    c2w = np.stack([look_at(*place) for place in places]).reshape(samples, 2, 4, 4)
    made = views_of(rgba, torch.from_numpy(c2w).float())
    made.scales[:] = torch.tensor(scales)
    return made


@pytest.mark.parametrize("mode", MODES)
def test_batches_hold_the_vectors_of_their_mode(small, mode):
    given = views()
    # What counts is the condition's scale; another view's may be unknown.
    given.scales[:, 0] = torch.nan
    system = ZeroNvsTraining(small(mode=mode, units_per_metre=4.0), 0, SIZE)
    batch = system.batch(given)
    scale = {"7dof": 3.0, "7dof_stereomag_scale": 0.5, "7dof_quantile_scale": 2.0, "7dof_metric_scale": 4.0}
    fov = 2 * np.arctan(0.5)
    expected = [pose_vector(mode, *pair, fov, scale.get(mode, 1.0)) for pair in given.c2w.numpy()]
    assert batch.pose.shape == (3, pose_dimensions(mode))
    np.testing.assert_allclose(batch.pose, expected, rtol=1e-6)
    assert fov_of(given.intrinsics[0, 0].numpy(), SIZE, SIZE) == pytest.approx(fov)


@pytest.mark.parametrize("mode", ["7dof", "7dof_stereomag_scale", "7dof_quantile_scale"])
def test_a_scene_without_its_scale_is_named(small, mode):
    given = views()
    given.scales[1, 1] = torch.nan
    system = ZeroNvsTraining(small(mode=mode), 0, SIZE)
    with pytest.raises(
        InputError, match=rf"object 1 has no \w+, by which the mode {mode} divides .*; give its shards"
    ):
        system.batch(given)


def test_modes_without_a_scale_ask_for_none(small):
    given = views(scales=[np.nan] * 3)
    for mode in ("3dof", "7dof_unscaled"):
        assert ZeroNvsTraining(small(mode=mode), 0, SIZE).batch(given).pose.isfinite().all()


def test_the_loss_is_zero123s(small):
    """Also its dropout, which leaves the pose; and its rates."""
    system = ZeroNvsTraining(small(dropout=0.05), 0, SIZE)
    batch, draws = system.batch(views()), system.draw([1, 2, 3])
    assert torch.equal(system(batch, draws).loss, training_loss(system.system, batch, draws, 0.05).loss)
    assert system.learning_rate_factors() == {"cc_projection": 10.0}
    assert system.cc_projection.linear.weight.shape == (16, 16 + 19)


def test_what_is_saved_samples_the_same(small, tmp_path):
    system = ZeroNvsTraining(small(), 0, SIZE)
    given = views()
    before = system.predict(system.batch(given), [5, 6, 7], steps=3, guidance_scale=2.0)
    system.save(tmp_path / "model")
    pipeline = read_pipeline(ZeroNvsPipeline, tmp_path / "model")
    assert pipeline.config.mode == "7dof_quantile_scale"
    again = ZeroNvsTraining(small(pretrained=str(tmp_path / "model")), 99, SIZE)
    assert torch.equal(again.predict(again.batch(given), [5, 6, 7], steps=3, guidance_scale=2.0), before)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(derive_seed(0, "5 6 7", "noise") % 2**63)
    sampled = pipeline(
        system.batch(given).condition,
        given.c2w[:, 0],
        given.c2w[:, 1],
        fov=2 * np.arctan(0.5),
        scale=SCALES[2],
        guidance_scale=2.0,
        num_inference_steps=3,
        eta=0.0,
        generator=noise,
    ).images
    assert torch.equal(sampled, before)


@pytest.fixture
def zero123_folder(tiny, tmp_path):
    """A trained Zero-1-to-3, whose projection is no longer what it began as."""
    system = Zero123Training(tiny(), 4, SIZE)
    with torch.no_grad():
        for parameter in system.cc_projection.parameters():
            parameter.add_(torch.linspace(0, 1, parameter.numel()).reshape(parameter.shape))
    system.save(tmp_path / "zero123")
    return system, tmp_path / "zero123"


def test_fine_tuning_keeps_all_but_the_pose_columns(small, zero123_folder):
    old, folder = zero123_folder
    new = ZeroNvsTraining(small(pretrained=str(folder)), 7, SIZE)
    kept, linear = old.cc_projection.linear, new.cc_projection.linear
    assert linear.weight.shape == (16, 16 + 19)
    assert torch.equal(linear.weight[:, :16], kept.weight[:, :16])
    assert torch.equal(linear.bias, kept.bias)
    # A new linear layer's own beginning: uniform within one over the root of its inputs, from the seed.
    assert torch.equal(linear.weight[:, 16:], new_projection(16, 7, 19).linear.weight[:, 16:])
    assert 0 < linear.weight[:, 16:].abs().max() <= 35**-0.5
    assert not torch.equal(
        linear.weight, ZeroNvsTraining(small(pretrained=str(folder)), 8, SIZE).cc_projection.linear.weight
    )
    for name, weight in old.unet.state_dict().items():
        assert torch.equal(new.unet.state_dict()[name], weight)
    assert {id(p) for group in new.parameter_groups().values() for p in group} == {
        id(p) for p in new.parameters() if p.requires_grad
    }


def test_three_degrees_of_freedom_keep_the_pose_columns_too(small, zero123_folder):
    old, folder = zero123_folder
    new = ZeroNvsTraining(small(pretrained=str(folder), mode="3dof"), 7, SIZE)
    assert torch.equal(new.cc_projection.linear.weight, old.cc_projection.linear.weight)


def test_a_folder_of_another_mode_is_refused(small, tmp_path):
    ZeroNvsTraining(small(mode="7dof"), 0, SIZE).save(tmp_path / "model")
    with pytest.raises(
        InputError, match=r"was trained under the mode 7dof, not 7dof_quantile_scale; set train\.zeronvs\.mode to 7dof"
    ):
        ZeroNvsTraining(small(pretrained=str(tmp_path / "model")), 0, SIZE)


def test_parameters_name_the_valid_modes():
    place = "params.yaml: train.zeronvs"
    with pytest.raises(
        ParameterError, match=r"7dof_qs, which the released .* for 7dof_quantile_scale; the modes are 3dof, 7dof"
    ):
        validated(ZeroNvsParameters, {"mode": "7dof_qs"}, place)
    with pytest.raises(
        ParameterError, match=r"units_per_metre .* 7dof_metric_scale divides by the scene units in a metre"
    ):
        validated(ZeroNvsParameters, {"mode": "7dof_metric_scale"}, place)
    assert validated(ZeroNvsParameters, {"mode": "7dof_metric_scale", "units_per_metre": 1.0}, place).mode
    assert validated(ZeroNvsParameters, {}, place).mode == "7dof_quantile_scale"
