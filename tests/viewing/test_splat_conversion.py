"""SPZ and SOG there and back within what the formats state, SPZ's bytes by hand, and each kind of damage."""

import gzip
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.gaussians import Gaussians, concatenate
from stage.errors import InputError
from viewing import splat_transform
from viewing.conversion import convert, read_gaussians, upright, write_gaussians
from viewing.installation import install

SH_C0 = 0.28209479177387814


def some(count: int = 500) -> Gaussians:
    """Gaussians in the unit cube, of the sizes that ours have."""
    rng = np.random.default_rng(5)
    return Gaussians(
        means=rng.uniform(-0.5, 0.5, (count, 3)),
        quaternions=rng.normal(size=(count, 4)),
        scales=np.exp(rng.uniform(np.log(5e-4), np.log(0.05), (count, 3))),
        opacities=rng.uniform(0.05, 0.99, count),
        colours=rng.uniform(size=(count, 3)),
    )


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between rotations given as unit quaternions, radians."""
    return 2 * np.arccos(np.clip(np.abs((first * second).sum(axis=1)), 0.0, 1.0))


def covariances(gaussians: Gaussians) -> np.ndarray:
    axes = Rotation.from_quat(gaussians.quaternions, scalar_first=True).as_matrix() * gaussians.scales[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


def matched(read: Gaussians, written: Gaussians) -> Gaussians:
    """What was read in the order of what was written; formats may sort."""
    _, order = cKDTree(read.means).query(written.means)
    assert len(set(order)) == len(written)
    return read.select(order)


def test_spz_within_its_quantisation(converter, tmp_path):
    written = some()
    write_gaussians(tmp_path / "some.spz", written)
    read = read_gaussians(tmp_path / "some.spz")
    assert len(read) == len(written)
    # 12 bits after the point; 16 steps of log scale; 8 bits of opacity and of 0.15 × (SH + 3.33); 10 of a rotation component.
    assert np.abs(read.means - written.means).max() <= 0.5 / 4096 + 1e-6
    assert np.abs(np.log(read.scales / written.scales)).max() <= 0.5 / 16 + 1e-4
    assert np.abs(read.opacities - written.opacities).max() <= 0.5 / 255 + 1e-5
    assert np.abs(read.colours - written.colours).max() <= 0.5 / 255 / 0.15 * SH_C0 + 1e-5
    assert angles(read.quaternions, written.quaternions).max() < 5e-3


def test_sog_within_its_quantisation(converter, tmp_path):
    written = some()
    write_gaussians(tmp_path / "some.sog", written)
    read = matched(read_gaussians(tmp_path / "some.sog"), written)
    # 16 bits of log position over the extent; codebooks of 256 scales and of 256 colours; 8 bits of opacity, and of each of the
    # three smaller components of a quaternion over √2: these are cut off and not rounded, by up to a step.
    assert np.abs(read.means - written.means).max() < 2e-5
    assert np.abs(np.log(read.scales / written.scales)).max() < 0.05
    assert np.abs(read.opacities - written.opacities).max() <= 1 / 255 + 1e-5
    assert np.abs(read.colours - written.colours).max() < 0.02
    # All three by a step, and the largest by up to their sum.
    assert angles(read.quaternions, written.quaternions).max() < 2 * np.sqrt(3 + 3**2) * np.sqrt(2) / 255


@pytest.mark.parametrize(("suffix", "step"), [(".spz", 0.04), (".sog", 0.4)])
def test_harmonics_are_kept(converter, tmp_path, suffix, step):
    """SPZ rounds those of degree 1 to 5 bits of [-1, 1]; SOG takes each Gaussian's from a palette."""
    harmonics = np.random.default_rng(0).normal(0, 0.2, (200, 3, 3))
    written = replace(some(200), harmonics=harmonics)
    write_gaussians(tmp_path / f"some{suffix}", written)
    read = matched(read_gaussians(tmp_path / f"some{suffix}"), written)
    assert np.abs(read.harmonics - written.harmonics).max() < step
    write_gaussians(tmp_path / f"again{suffix}", written)
    assert (tmp_path / f"again{suffix}").read_bytes() == (tmp_path / f"some{suffix}").read_bytes()


def test_spz_by_hand(converter, tmp_path):
    """Header, and positions in SPZ's axes: x right, y up, z back, where PLY has y down and z to the front."""
    one = some(1)
    write_gaussians(tmp_path / "one.spz", one)
    data = gzip.decompress((tmp_path / "one.spz").read_bytes())
    magic, version, count, degree, fractional_bits, _, _ = struct.unpack("<IIIBBBB", data[:16])
    assert (magic, version, count, degree, fractional_bits) == (0x5053474E, 3, 1, 0, 12)
    steps = [int.from_bytes(data[start : start + 3], "little", signed=True) for start in (16, 19, 22)]
    assert np.abs(np.array(steps) / 4096 * [1, -1, -1] - one.means[0]).max() <= 0.5 / 4096 + 1e-6


def test_upright_is_one_rotation_of_means_and_shapes():
    written = some(20)
    turned = upright(written)
    rotation = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(turned.means, written.means @ rotation.T, atol=1e-6)
    expected = rotation @ covariances(written) @ rotation.T
    np.testing.assert_allclose(covariances(turned), expected, atol=1e-8)
    np.testing.assert_allclose(turned.colours, written.colours, atol=1e-6)


@pytest.mark.parametrize("suffix", [".spz", ".sog", ".ply"])
def test_same_gaussians_give_the_same_bytes(converter, tmp_path, suffix):
    for name in ("first", "second"):
        write_gaussians(tmp_path / f"{name}{suffix}", some(50))
    assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".spz", ".sog"])
@pytest.mark.parametrize("damage", ["cut", "empty", "error page"])
def test_damaged_files_are_named_and_leave_nothing(converter, tmp_path, suffix, damage):
    path, target = tmp_path / f"some{suffix}", tmp_path / "plain.ply"
    write_gaussians(path, some(50))
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "error page": b"<!DOCTYPE html>" * 99}[damage])
    with pytest.raises(InputError, match=rf"some{suffix}: splat-transform failed: .+") as caught:
        convert(path, target)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [path]


def test_unknown_suffixes_and_absent_files(tmp_path):
    with pytest.raises(InputError, match=r"a\.obj: \.obj is none of \.ply"):
        read_gaussians(tmp_path / "a.obj")
    with pytest.raises(InputError, match=r"b\.glb: \.glb is none of \.ply, \.splat, \.spz, \.sog"):
        convert(tmp_path / "a.ply", tmp_path / "b.glb")
    with pytest.raises(InputError, match=r"a\.sog: no such file"):
        convert(tmp_path / "a.sog", tmp_path / "b.ply")


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    far = Gaussians([[0, -2100, 0]], [[1, 0, 0, 0]], [[1, 1, 1]], [1], [[1, 1, 1]])
    with pytest.raises(InputError, match=r"far\.spz: Gaussians lie beyond 2048"):
        write_gaussians(tmp_path / "far.spz", far)
    with pytest.raises(InputError, match=r"none\.sog: there are no Gaussians"):
        write_gaussians(tmp_path / "none.sog", concatenate([]))
    assert not list(tmp_path.iterdir())


def test_without_the_converter_the_remedy_is_said(tmp_path, monkeypatch):
    write_gaussians(tmp_path / "some.ply", some(5))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"Node\.js is missing; apt-get install -y nodejs npm, then python -m viewing"
    ):
        convert(tmp_path / "some.ply", tmp_path / "some.spz")
    assert not (tmp_path / "some.spz").exists()


def test_packages_of_another_lock_file_are_not_taken(converter, tmp_path, monkeypatch):
    other = tmp_path / "package-lock.json"
    other.write_text(splat_transform._WANTED.read_text().replace('"2.7.1"', '"2.7.0"'))
    monkeypatch.setattr(splat_transform, "_WANTED", other)
    with pytest.raises(InputError, match="splat-transform is not installed"):
        splat_transform.check_installed()


def test_setup_without_npm_says_what_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(splat_transform, "_INSTALLED", tmp_path / "nothing")
    node = shutil.which("node")
    if node:
        (tmp_path / "node").symlink_to(node)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="without npm Gaussians have no page"):
        install()


def test_lock_file_pins_every_package_and_names_no_registry():
    for path in splat_transform.FOLDER.iterdir():
        assert path.is_dir() or "://" not in path.read_text()
    for name, package in splat_transform._packages(splat_transform._WANTED).items():
        assert package["integrity"].startswith("sha512-"), name
