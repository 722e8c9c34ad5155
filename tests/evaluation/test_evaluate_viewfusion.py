"""Evaluation asks fused views like any system's, an object's all at once."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_support import asset

from blender_render.camera_sets import View
from evaluation.baselines import Reencoding, find_reencoding
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import ObjectViews
from evaluation.sampling import load_for_sampling, predict
from evaluation.sizes import check_resolution
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError, ParameterError
from stage.parameters import validated
from stage.seeds import derive_seed
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.modules import build_modules
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline

FUSION = ViewFusionParameters(weights="released", max_conditions=4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    parameters = Zero123Parameters(
        unet=UNetParameters(block_channels=(32, 32), attention_heads=2),
        autoencoder=AutoencoderParameters(factor=4),
        image_encoder=ImageEncoderParameters(image_size=16, hidden_size=16, layers=1, heads=2, embedding_dim=16),
    )
    m = build_modules(parameters, 0)
    Zero123Pipeline(m.unet, m.cc_projection, m.image_encoder, m.vae, m.scheduler).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_an_objects_targets_are_asked_for_together_whatever_the_batch(model: Path) -> None:
    lens = Intrinsics.from_fov(0.9, 16)
    cameras = tuple(View(look_at_origin(1.0, math.radians(45 * n), 1.5), lens) for n in range(8))
    pictures = np.random.default_rng(0).random((8, 16, 16, 3)).astype(np.float32)
    views = ObjectViews(asset("b1", "test"), pictures, cameras)
    parameters = EvaluateParameters(view_fusion=FUSION, inference_steps=2, batch_size=3)
    pipeline = load_for_sampling(model, None, parameters.view_fusion)
    assert isinstance(pipeline, ViewFusionPipeline)
    rows: list[int] = []
    pipeline.components["unet"].register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    made = predict(pipeline, views, parameters, 5).pictures
    assert max(rows) == 3, "a batch bounds what the denoiser sees"
    generator = torch.Generator().manual_seed(derive_seed(5, "b1", "evaluation noise"))
    condition = torch.from_numpy(pictures[:1]).permute(0, 3, 1, 2) * 2 - 1
    options = {"guidance_scale": 1.0, "num_inference_steps": 2, "eta": 0.0, "generator": generator}
    expected = pipeline.orbit(condition, cameras[0], 8, **options).images[1:]
    np.testing.assert_allclose(made, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    plain = predict(load_for_sampling(model), views, parameters, 5).pictures
    assert np.abs(made - plain).max() > 0.01


def test_fused_views_have_the_bound_of_their_bases_autoencoder(model: Path) -> None:
    truth = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    plain, fused = (find_reencoding(load_for_sampling(model, None, fusion), 4) for fusion in (None, FUSION))
    assert isinstance(plain, Reencoding)
    assert isinstance(fused, Reencoding)
    np.testing.assert_array_equal(fused(truth), plain(truth))


def test_fused_views_have_their_bases_size_or_none(model: Path) -> None:
    fused = load_for_sampling(model, None, FUSION)
    fused.base.unet.register_to_config(sample_size=None)
    check_resolution(fused, 64)
    fused.base.unet.register_to_config(sample_size=4)
    check_resolution(fused, 16)
    with pytest.raises(
        InputError, match=r"ViewFusionPipeline makes pictures of 16 pixels, and evaluate\.resolution is 64"
    ):
        check_resolution(fused, 64)


def test_parameters_of_the_fusion_are_checked() -> None:
    with pytest.raises(ParameterError, match="weights"):
        validated(EvaluateParameters, {"view_fusion": {"weight": "paper"}}, "params.yaml: evaluate")
