"""What the flows show in Prefect: a table of the run, pictures, metrics, progress, lineage, the promotion decision."""

import base64
import io
from collections import Counter
from typing import Any
from uuid import UUID

from PIL import Image
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.stage_run import StageRun
from stage.workspace import Workspace

_THUMBNAIL = (640, 640)


def publish_stages(runs: list[StageRun]) -> None:
    """A table of the stages: what ran and for how long, and of a run that failed, which did and what was not tried."""
    rows = [{"stage": run.stage, "state": run.state, "seconds": run.seconds} for run in runs]
    create_table_artifact(table=rows, key="pipeline-stages", description="Stages of this run, in order")


def publish_results(workspace: Workspace) -> None:
    """The contact sheet, the metrics of the evaluation with their intervals, and what they come to in words."""
    sheet = workspace.evaluation / "contact_sheet.png"
    with Image.open(sheet) as image:
        create_image_artifact(image_url=_thumbnail(image), key="contact-sheet", description="What was rendered")
    from evaluation.evaluated_folder import EvaluatedFolder
    from evaluation.headline import sentences, verdict
    from evaluation.report_sections import interval_rows

    result = EvaluatedFolder.read(workspace.evaluation)
    create_table_artifact(
        table=interval_rows(result, "unseen"),
        key="metrics",
        description="Scores on unseen objects with 95 % intervals, baselines beside the model",
    )
    found = "\n".join(f"- {sentence}" for sentence in sentences(result.metrics, result.objects))
    create_markdown_artifact(
        markdown=f"# {verdict(result.metrics)}\n\n{found}\n", key="evaluation", description="The result in words"
    )


def publish_renders(workspace: Workspace) -> None:
    """What became of the objects to be rendered: how many are of each status, failures by class, a look at the first."""
    from blender_render.preview import look
    from blender_render.status import failure_table

    seen = look(workspace)
    counts = Counter(str(status.status) for status in seen.statuses)
    create_table_artifact(
        table=[{"status": name, "objects": objects} for name, objects in counts.most_common()],
        key="render-status",
        description=f"What became of {len(seen.statuses)} objects; viewforge render preview shows each",
    )
    rows = failure_table(seen.statuses)
    create_table_artifact(table=rows, key="render-failures", description="Failures of the render stage by class")
    create_image_artifact(
        image_url=_thumbnail(seen.overview),
        key="render-preview",
        description="First views of the first objects",
    )


def publish_lineage(workspace: Workspace) -> None:
    """Where to find the training run in MLflow and the data in DVC; what is not known says why, and fails nothing."""
    from flows.lineage import lineage

    found = lineage(workspace)
    rows = [{"what": name, "value": value} for name, value in found.facts.items()]
    create_table_artifact(
        table=rows, key="lineage", description="Code, data, model and training run of this workspace"
    )
    if found.run_page:
        create_link_artifact(
            link=found.run_page,
            key="mlflow-run",
            link_text=f"MLflow run {found.run_id}",
            description="The training run",
        )


def publish_decision(workspace: Workspace, decision: dict[str, Any]) -> None:
    """The promotion decision with its numbers and reasons, as `promotion.md` has it."""
    text = (workspace.root / "promotion.md").read_text()
    create_markdown_artifact(
        markdown=text, key="promotion", description=f"{decision['outcome']}: gate {decision['gate']}"
    )


def show_progress(artifact: UUID | None, share: float, text: str) -> UUID:
    """Create or update a progress artifact; its id."""
    if artifact is None:
        created = create_progress_artifact(progress=share, description=text)
        assert isinstance(created, UUID)  # noqa: S101 - synchronous callers get the id itself
        return created
    update_progress_artifact(artifact_id=artifact, progress=share, description=text)
    return artifact


def _thumbnail(picture: Image.Image) -> str:
    """A small JPEG of a picture as a data URI: Prefect stores addresses of images, not images."""
    small = picture.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
