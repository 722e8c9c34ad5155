"""Parameters of the `catalog` stage."""

from typing import Literal

from pydantic import Field

from catalog.download_parameters import DownloadParameters
from catalog.selection import SelectionParameters
from catalog.source_parameters import FuelParameters, ObjaverseParameters, ObjaverseXlParameters
from catalog.split import SplitParameters
from stage.executor import ExecutorParameters
from stage.parameters import Parameters

SourceName = Literal["procedural", "scene", "folder", "gso", "objaverse", "objaverse_xl", "gso_fuel"]


class CatalogParameters(Parameters):
    """Which objects the pipeline works on."""

    source: SourceName = "procedural"
    """`procedural` composes objects and `scene` rooms with several of them to be seen from within (`render.protocol: inside`);
    `folder` takes a directory tree of assets, `gso` Google Scanned Objects folders; from the network come `objaverse` (1.0),
    `objaverse_xl`, and `gso_fuel` (Google Scanned Objects from Fuel)."""
    path: str = "inputs/objects"
    """Folder of the sources `folder` and `gso`, absolute or relative to the workspace."""
    objects: int = Field(default=64, ge=1)
    """Number of objects that `procedural` composes, or of rooms of `scene`."""
    objaverse: ObjaverseParameters = ObjaverseParameters()
    """Objaverse 1.0."""
    objaverse_xl: ObjaverseXlParameters = ObjaverseXlParameters()
    """Objaverse-XL."""
    fuel: FuelParameters = FuelParameters()
    """Google Scanned Objects on a Fuel server."""
    download: DownloadParameters = DownloadParameters()
    """How index files and objects are downloaded."""
    store: str | None = None
    """Folder for what is downloaded, which workspaces may share, absolute or relative to this one; `scratch/assets` when null."""
    selection: SelectionParameters = SelectionParameters()
    """Which of the source's objects are worked on."""
    split: SplitParameters = SplitParameters()
    """Shares held out for validation and test."""
    packs: int = Field(default=4, ge=1)
    """Tar files that composed assets are published in."""
    max_failure_rate: float = Field(default=0.05, ge=0, le=1)
    """Share of objects that may fail to be composed or downloaded before the stage does."""
    executor: ExecutorParameters = ExecutorParameters()
    """Worker processes that compose objects."""
