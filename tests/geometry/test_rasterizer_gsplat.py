"""The CUDA rasteriser: what gsplat is called with, that both rasterisers agree, and one-line errors without CUDA.

Without a GPU gsplat's own function runs with its kernels replaced by its PyTorch reference and, for the last one, by a loop that
follows the CUDA source: an implementation of the same pictures that shares nothing with ours.
"""

import dataclasses
import inspect
import sys
from types import SimpleNamespace

import gsplat
import gsplat.rendering
import numpy as np
import pytest
import torch
from gsplat.cuda import _torch_impl

from geometry import cameras, rasterizer_gsplat
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.rasterizer import rasterize
from stage.errors import InputError

CAMERAS = np.stack([cameras.look_at_origin(1.0, 0.6, 2.2), cameras.look_at_origin(2.1, -2.0, 1.1)])
LENS = Intrinsics(fx=40.0, fy=36.0, cx=20.0, cy=13.0, width=43, height=27)
BACKGROUND = (0.2, 0.5, 1.0)
OUTPUTS = ("rgb", "alpha", "depth", "normals")


def projection(means, covars, quats, scales, viewmats, Ks, width, height, **options):
    assert covars is None
    assert not options["packed"]
    covariances = _torch_impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)[0]
    kept = {name: options[name] for name in ("eps2d", "near_plane", "far_plane", "calc_compensations", "camera_model")}
    return _torch_impl._fully_fused_projection(means, covariances, viewmats, Ks, width, height, **kept)


def tile_intersections(means2d, radii, depths, tile_size, tile_width, tile_height, **_):
    return _torch_impl._isect_tiles(means2d.detach(), radii, depths.detach(), tile_size, tile_width, tile_height)


def pixels(means2d, conics, colors, opacities, width, height, tile_size, offsets, flatten_ids, **options):
    """`rasterize_to_pixels_3dgs_fwd_kernel` of gsplat 1.5.3, all pixels of a tile at once."""
    assert options["backgrounds"] is None
    images, rows, columns = offsets.shape
    means2d, conics, colors, opacities = (
        values.flatten(0, 1) for values in (means2d, conics, colors, opacities.contiguous())
    )
    ends = torch.cat([offsets.flatten()[1:], torch.tensor([len(flatten_ids)])])
    tiles = []
    for start, end, place in zip(offsets.flatten(), ends, np.ndindex(images, rows, columns), strict=True):
        y, x = np.mgrid[:tile_size, :tile_size] + 0.5 + tile_size * np.array(place[1:])[:, None, None]
        through, total, done = torch.ones(y.shape), torch.zeros(*y.shape, colors.shape[-1]), torch.zeros(y.shape) > 0
        for g in flatten_ids[start:end].long():
            dx, dy = means2d[g, 0] - torch.tensor(x).float(), means2d[g, 1] - torch.tensor(y).float()
            sigma = 0.5 * (conics[g, 0] * dx * dx + conics[g, 2] * dy * dy) + conics[g, 1] * dx * dy
            alpha = (opacities[g] * torch.exp(-sigma)).clamp(max=0.999)
            alpha = torch.where((sigma < 0) | (alpha < 1 / 255), 0.0, alpha)
            done = done | (through * (1 - alpha) <= 1e-4)
            alpha = torch.where(done, 0.0, alpha)
            total = total + (alpha * through)[..., None] * colors[g]
            through = through * (1 - alpha)
        tiles.append(torch.cat([total, 1 - through[..., None]], dim=-1))
    grid = torch.stack(tiles).reshape(images, rows, columns, tile_size, tile_size, -1).transpose(2, 3)
    picture = grid.reshape(images, rows * tile_size, columns * tile_size, -1)[:, :height, :width]
    return picture[..., :-1], picture[..., -1:]


@pytest.fixture
def kernels_in_pytorch(monkeypatch):
    monkeypatch.setattr(gsplat.rendering, "fully_fused_projection", projection)
    monkeypatch.setattr(gsplat.rendering, "isect_tiles", tile_intersections)
    monkeypatch.setattr(gsplat.rendering, "isect_offset_encode", _torch_impl._isect_offset_encode)
    monkeypatch.setattr(gsplat.rendering, "rasterize_to_pixels", pixels)
    monkeypatch.setattr(rasterizer_gsplat, "_require_gsplat", lambda _device: None)


def leaves(cloud, device="cpu"):
    """Gaussians with harmonics, some of them beside, behind and very near to the cameras, some large and opaque."""
    tensors = GaussianTensors.of(cloud(70, seed=3), device)
    generator = torch.Generator().manual_seed(0)
    harmonics = (0.2 * torch.randn(70, 8, 3, generator=generator)).to(device)
    spread = torch.linspace(1.0, 2.5, 70, device=device)[:, None]
    opaque = (torch.arange(70, device=device) % 3 == 0).float()
    tensors = dataclasses.replace(
        tensors,
        means=tensors.means * spread,
        scales=tensors.scales * (1.0 + opaque[:, None]),
        opacities=torch.maximum(tensors.opacities, opaque),
        harmonics=harmonics,
    )
    for field in dataclasses.fields(tensors):
        getattr(tensors, field.name).requires_grad_()
    return tensors


def pictures_and_gradients(cloud, backend, device="cpu"):
    tensors = leaves(cloud, device)
    seen = rasterize(tensors, CAMERAS, LENS, BACKGROUND, backend)
    pictures = {name: getattr(seen, name) for name in OUTPUTS}
    generator = torch.Generator().manual_seed(1)
    # Of depth and normals where they are well defined: a faint pixel's are ill-conditioned.
    clear = (seen.alpha > 0.05).float()
    masked = pictures | {"depth": seen.depth * clear, "normals": seen.normals * clear[..., None]}
    loss = sum((part * torch.randn(part.shape, generator=generator).to(device)).mean() for part in masked.values())
    loss.backward()
    gradients = {field.name: getattr(tensors, field.name).grad.cpu() for field in dataclasses.fields(tensors)}
    return {name: part.detach().cpu() for name, part in masked.items()}, gradients


def assert_parity(ours, theirs):
    for name in OUTPUTS:
        torch.testing.assert_close(
            ours[0][name], theirs[0][name], atol=1e-3, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    for name, gradient in ours[1].items():
        scale = float(gradient.abs().max())
        assert scale > 0, name
        error = float((gradient - theirs[1][name]).abs().max())
        assert error < 1e-3 * scale, f"{name}: {error} of {scale}"


def test_the_call_fits_gsplat_s_signature(cloud):
    tensors = GaussianTensors.of(cloud(5), dtype=torch.float64)
    arguments = rasterizer_gsplat.rasterization_arguments(tensors, CAMERAS, [LENS, LENS])
    bound = inspect.signature(gsplat.rasterization).bind(**arguments)
    bound.apply_defaults()
    assert bound.arguments["colors"].shape == (2, 5, 6)
    assert bound.arguments["Ks"].shape == (2, 3, 3)
    assert all(value.dtype == torch.float32 for value in bound.arguments.values() if isinstance(value, torch.Tensor))
    # What geometry.projection and geometry.compositing rely on.
    assert (bound.arguments["near_plane"], bound.arguments["eps2d"], bound.arguments["rasterize_mode"]) == (
        0.01,
        0.3,
        "classic",
    )


def test_both_rasterisers_give_the_same_pictures_and_gradients(cloud, kernels_in_pytorch):
    assert_parity(pictures_and_gradients(cloud, "cpu"), pictures_and_gradients(cloud, "gsplat"))


@pytest.mark.gpu
def test_parity_on_a_gpu(cloud):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    ours = pictures_and_gradients(cloud, "cpu")
    assert_parity(ours, pictures_and_gradients(cloud, "gsplat", "cuda"))
    assert_parity(ours, pictures_and_gradients(cloud, "cpu", "cuda"))


@pytest.mark.gpu
def test_auto_takes_gsplat_on_a_gpu(cloud, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    called = []
    real = gsplat.rasterization
    monkeypatch.setattr(gsplat, "rasterization", lambda **arguments: called.append(1) or real(**arguments))
    rasterize(GaussianTensors.of(cloud(5), "cuda"), CAMERAS, LENS)
    assert called


def test_nothing_is_not_given_to_gsplat():
    empty = GaussianTensors(*(torch.zeros(0, *columns) for columns in ((3,), (4,), (3,), (), (3,))))
    seen = rasterize(empty, CAMERAS, LENS, BACKGROUND, "gsplat")
    assert seen.rgb.shape == (2, 27, 43, 3)
    torch.testing.assert_close(seen.rgb[0, 0, 0], torch.tensor(BACKGROUND))


def test_gsplat_without_cuda_says_what_to_do(cloud):
    with pytest.raises(InputError, match="the Gaussians are on cpu; move them to CUDA, or take backend cpu"):
        rasterize(GaussianTensors.of(cloud(5)), CAMERAS, LENS, backend="gsplat")


@pytest.mark.parametrize("backend", [None, SimpleNamespace(_C=None)])
def test_missing_kernels_say_what_to_do(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    with pytest.raises(InputError, match="cannot be; install the CUDA toolkit of PyTorch's version"):
        rasterizer_gsplat._require_gsplat(torch.device("cuda"))


def test_a_missing_gsplat_says_what_to_do(monkeypatch):
    monkeypatch.setattr(rasterizer_gsplat, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"not installed; pip install 'viewforge\[gpu\]'"):
        rasterizer_gsplat._require_gsplat(torch.device("cuda"))
