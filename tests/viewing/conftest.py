"""A box to look at, and the converter that pages and formats need."""

import shutil

import pytest
from box_support import coloured_box

from geometry.gaussians import Gaussians
from viewing.installation import install


@pytest.fixture(scope="session")
def box() -> Gaussians:
    return coloured_box()


@pytest.fixture(scope="session")
def converter() -> None:
    """splat-transform, as `make setup` installs it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm on this machine")
    install()
