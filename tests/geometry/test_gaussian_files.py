"""Files of Gaussians by their suffix."""

import numpy as np
import pytest
from gaussian_samples import some

from geometry.gaussian_files import FORMATS, read_gaussians, write_gaussians
from stage.errors import InputError


@pytest.mark.parametrize("suffix", [*FORMATS, ".PLY"])
def test_each_format_is_read_as_it_was_written(tmp_path, suffix):
    gaussians, path = some(4), tmp_path / f"some{suffix}"
    write_gaussians(path, gaussians)
    means = read_gaussians(path).means
    np.testing.assert_array_equal(np.sort(means, axis=0), np.sort(gaussians.means, axis=0))


def test_formats_differ(tmp_path):
    write_gaussians(tmp_path / "some.ply", some(4))
    write_gaussians(tmp_path / "some.splat", some(4))
    assert (tmp_path / "some.ply").read_bytes().startswith(b"ply\n")
    assert (tmp_path / "some.splat").stat().st_size == 128


@pytest.mark.parametrize("name", ["some.obj", "some"])
def test_an_unknown_suffix_is_named_with_those_known(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name}: no format of Gaussians .*; known are \.ply, \.splat"):
        read_gaussians(tmp_path / name)
    with pytest.raises(InputError, match="no format of Gaussians"):
        write_gaussians(tmp_path / name, some(1))
