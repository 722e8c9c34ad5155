"""The model card of a registered version: one page that says what it is, what it was made from, how good it is and who decided.

    viewforge card 7

Its layout and its front matter are Hugging Face's (huggingface.co/docs/hub/model-cards), so that a version can be published there
as it is. Everything in it comes from the registry: `registry.model_facts`, the version's evaluations and tags, its run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from registry.card_sections import evaluated_on, figure_tables, limits, missing_figures, uses
from registry.client import CHALLENGER, CHAMPION
from registry.decision_record import AWAY_TAG, SINCE_TAG
from registry.evaluation_record import MODEL, EvaluationRecord
from registry.lineage import MODEL_TAG, SHARDS_TAG, UNKNOWN

_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
# The registry's column of descriptions; SQLite takes more, PostgreSQL does not.
LONGEST_DESCRIPTION = 5000
_TASK = "image-to-image"


@dataclass(frozen=True)
class CardMaterial:
    """What a card is made from.

    Args:
        version: the registered version.
        facts: `registry.model_facts`; empty for a version of before.
        record: its last evaluation; None where it carries none.
        run: its training run; None where it is gone.
        aliases: those that the version holds.
    """

    version: ModelVersion
    facts: Mapping[str, Any] = field(default_factory=dict)
    record: EvaluationRecord | None = None
    run: Run | None = None
    aliases: tuple[str, ...] = ()


def model_card(material: CardMaterial) -> str:
    """The card as Markdown with front matter; the same registry gives the same text."""
    version, facts, record = material.version, material.facts, material.record
    card = ModelCard.from_template(
        _front_matter(material),
        template_path=str(_TEMPLATE),
        **{name: facts.get(name) for name in ("pipeline", "system", "picture_size")},
        model=version.name,
        version=version.version,
        status=_status(material),
        reasons=[_one_line(line) for line in version.tags.get("promotion.reasons", "").splitlines()],
        uses=uses(facts),
        limits=limits(facts, record),
        evaluated_on=evaluated_on(record) if record else "",
        figures=figure_tables(record) if record else [],
        missing=missing_figures(record) if record else [],
        data=facts.get("data") or {},
        sources=_counted((facts.get("data") or {}).get("sources") or {}),
        shard_sets=facts.get("shard_sets") or {},
        views=facts.get("views") or {},
        training=_training(facts, material.run),
        provenance=_provenance(version),
        yes_no=lambda fact: "yes" if fact else "no",
    )
    return str(card.content).rstrip() + "\n"


def description(card: str) -> str:
    """The card as the description of a version: without front matter, and no longer than a registry takes."""
    text = card.split("\n---\n", 1)[1].strip()
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    ending = "\n\n… The whole card is README.md of the logged model."
    return text[: LONGEST_DESCRIPTION - len(ending)].rpartition("\n")[0].rstrip() + ending


def _front_matter(material: CardMaterial) -> ModelCardData:
    """No licence is named but those of the data: whoever publishes the weights chooses one, within what the table allows."""
    figures = material.record.metrics["unseen"][MODEL] if material.record else {}
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    data = (material.record.metrics.get("source") if material.record else None) or UNKNOWN
    results = [
        EvalResult(
            _TASK, f"viewforge/{data}", f"{data}, unseen objects", name, value, task_name="novel view synthesis"
        )
        for name, value in sorted(numbers.items())
    ]
    system = material.facts.get("system")
    return ModelCardData(
        license="other",
        license_name="of-the-training-objects",
        license_link="attribution.md",
        library_name="diffusers",
        pipeline_tag=_TASK,
        tags=["novel-view-synthesis", "viewforge", *([system] if system else [])],
        model_name=f"{material.version.name} version {material.version.version}",
        eval_results=results or None,
    )


def _status(material: CardMaterial) -> str:
    tags = material.version.tags
    if CHAMPION in material.aliases:
        return f"champion since {tags[SINCE_TAG]}" if tags.get(SINCE_TAG) else "champion"
    if tags.get(AWAY_TAG):
        return f"rolled back: {_one_line(tags[AWAY_TAG])}"
    decided = tags.get("promotion.decision", "")
    if decided == "promoted":
        return "a former champion"
    waiting = "challenger" if CHALLENGER in material.aliases else "no alias"
    return f"{waiting}, {decided}" if decided else f"{waiting}, no decision yet"


def _training(facts: Mapping[str, Any], run: Run | None) -> list[tuple[str, str]]:
    """What is recorded of the training, in the order in which it is told."""
    asked = facts.get("training") or {}
    told = {name.replace("_", " "): asked.get(name) for name in ("steps", "batch_size", "seed")}
    told |= {f"optimizer {name}": value for name, value in (asked.get("optimizer") or {}).items()}
    tags = run.data.tags if run else {}
    if run and run.info.end_time and "viewforge.substitute" not in tags:
        seconds = (run.info.end_time - run.info.start_time) / 1000
        told["from start to end"] = f"{seconds / 3600:.2f} h, pauses included"
    told["hardware"] = tags.get("environment.devices")
    told |= {name: tags.get(f"environment.{name}") for name in ("python", "torch", "diffusers", "accelerate")}
    if "viewforge.substitute" in tags:
        told["run"] = tags["viewforge.substitute"]
    return [(name, str(value)) for name, value in told.items() if value not in (None, "")]


def _provenance(version: ModelVersion) -> list[tuple[str, str]]:
    tags = version.tags
    told = {
        "git commit": tags.get("git.commit"),
        "uncommitted changes": {"true": "yes", "false": "no"}.get(tags.get("git.dirty", "")),
        "SHA-256 of the weights": tags.get(MODEL_TAG),
        "of dvc.lock": tags.get("dvc.lock_sha256"),
        "of params.yaml": tags.get("params_sha256"),
        "of the catalogue": tags.get("data.catalog_sha256"),
        "of the shards' index": tags.get(SHARDS_TAG),
        "of the evaluated data": tags.get("evaluation.data_sha256"),
        "MLflow run": version.run_id,
        "registered": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
    }
    return [(name, str(value)) for name, value in told.items() if value not in (None, "", UNKNOWN)]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` ({count})" for name, count in counts.items())


def _one_line(text: str) -> str:
    """What a person wrote, as one line that cannot open a section of its own."""
    return " ".join(text.split())
