"""Parameters of the sources that are listed and downloaded over the network."""

from typing import Literal
from urllib.parse import quote

from pydantic import Field

from catalog.archive import ArchiveParameters
from stage.parameters import Parameters

Origin = Literal["sketchfab", "github", "thingiverse", "smithsonian"]
_DATASETS = "https://huggingface.co/datasets/allenai"


class ObjaverseParameters(Parameters):
    """Where Objaverse 1.0 is, and how much of it is listed."""

    base_url: str = Field(default=f"{_DATASETS}/objaverse/resolve/main", pattern=r"^https?://")
    """Folder of the data set, with `object-paths.json.gz`; end it in a commit in place of `main` to pin the version."""
    checksums_url: str | None = f"{_DATASETS}/objaverse-xl/resolve/main/sketchfab/sketchfab.parquet"
    """Table with the SHA-256 sums, which 1.0 itself does not publish; when null, only sizes that servers announce are checked."""
    max_folders: int | None = Field(default=None, ge=1)
    """Number of the 160 folders, of about 5,000 objects each, that are listed; all when null."""


class ObjaverseXlParameters(Parameters):
    """Where Objaverse-XL's tables are, and which of them are listed."""

    base_url: str = Field(default=f"{_DATASETS}/objaverse-xl/resolve/main", pattern=r"^https?://")
    """Folder of the data set, with `github/github.parquet`; end it in a commit in place of `main` to pin the version."""
    origins: tuple[Origin, ...] = Field(default=("sketchfab", "github", "thingiverse", "smithsonian"), min_length=1)
    """Where the objects come from. Those of `sketchfab` are Objaverse 1.0, listed by the section `objaverse`."""
    max_left_out: int = Field(default=100_000, ge=0)
    """Number of objects that are left out and still become rows; of ten million, more would only take memory."""


class FuelParameters(Parameters):
    """Which models of a Fuel server, and how much they may hold."""

    base_url: str = Field(default="https://fuel.gazebosim.org", pattern=r"^https?://")
    """The Fuel server."""
    owner: str = "GoogleResearch"
    """Whose models."""
    per_page: int = Field(default=100, ge=1, le=100)
    """Models a page of the list."""
    max_models: int | None = Field(default=None, ge=1)
    """Number of models after which the list ends; all when null."""
    archive: ArchiveParameters = ArchiveParameters()
    """Limits on one model's archive."""

    @property
    def models_url(self) -> str:
        """The list's address, below which the models lie."""
        return f"{self.base_url.rstrip('/')}/1.0/{quote(self.owner, safe='')}/models"
