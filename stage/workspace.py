"""The workspace: the folder that a pipeline works in, and where each stage's outputs lie in it.

`data/` holds what DVC versions, `scratch/` what only saves work when a stage runs again: it may be deleted at any time.
The repository's root is a workspace; `viewforge run --workspace` makes others.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Paths below one workspace's root."""

    root: Path

    @property
    def parameters(self) -> Path:
        """The parameter file."""
        return self.root / "params.yaml"

    @property
    def scratch(self) -> Path:
        """Resumable work, never versioned."""
        return self.root / "scratch"

    @property
    def catalog(self) -> Path:
        """`catalog.parquet` and the packs of assets that the pipeline made itself."""
        return self.root / "data" / "catalog"

    @property
    def renders(self) -> Path:
        """Packs of rendered objects and `objects.parquet`."""
        return self.root / "data" / "renders"

    @property
    def splatters(self) -> Path:
        """Packs of splatter images and `splatters.parquet`."""
        return self.root / "data" / "splatters"

    @property
    def shards(self) -> Path:
        """WebDataset shards and `index.parquet`."""
        return self.root / "data" / "shards"

    @property
    def model(self) -> Path:
        """The trained diffusers pipeline."""
        return self.root / "data" / "model"

    @property
    def training_report(self) -> Path:
        """Loss curve and figures of the training run."""
        return self.root / "data" / "training"

    @property
    def evaluation(self) -> Path:
        """Metrics, per-object table, pictures and report of the evaluation."""
        return self.root / "data" / "evaluation"

    @property
    def mlflow(self) -> Path:
        """MLflow's configuration, and by default its database and artifacts."""
        return self.root / "mlflow"

    @property
    def services(self) -> Path:
        """Logs and state of the servers and workers that `viewforge up` started here."""
        return self.root / ".services"

    @property
    def store(self) -> Path:
        """What the S3-speaking store of `viewforge up --store` keeps."""
        return self.root / ".store"

    @property
    def report(self) -> Path:
        """The report of the last whole run, promotion decision included."""
        return self.root / "report.html"
