"""`viewforge evaluate --predictions DIR --ground-truth DIR --output DIR`: any program's pictures under our figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage.errors import ParameterError, StageFailedError

if TYPE_CHECKING:
    from evaluation.folders.parameters import FolderParameters
    from evaluation.folders.publication import FolderEvaluation

_SHOWN = 5


@dataclass(frozen=True)
class FolderRequest:
    """The command's options; what was not given is None."""

    predictions: Path | None
    ground_truth: Path | None
    output: Path | None
    parameters: Path | None
    compare: Path | None
    chosen: dict[str, Any]
    """Parameters by name that stand above those of the file."""
    workers: int | None

    @property
    def asked(self) -> bool:
        """Whether folders are to be scored, and no model."""
        given = (self.predictions, self.ground_truth, self.output, self.parameters, self.compare, self.workers)
        return any(value is not None for value in (*given, *self.chosen.values()))

    def folders(self) -> tuple[Path, Path, Path]:
        """Predictions, truth and output.

        Raises:
            ParameterError: when one is not given.
        """
        named = {
            "--predictions": self.predictions,
            "--ground-truth": self.ground_truth,
            "--output": self.output,
        }
        missing = [name for name, path in named.items() if path is None]
        if missing:
            raise ParameterError(f"scoring folders needs {' and '.join(missing)}", "name a folder with each")
        predictions, truth, output = (path for path in named.values() if path is not None)
        return predictions, truth, output


def score_folders(request: FolderRequest) -> None:
    """Score, say what came out, and end with an error where too many objects lack figures.

    Raises:
        ViewforgeError: when options or folders are wrong, or more than `max_missing` objects lack figures.
    """
    predictions, truth, output = request.folders()
    from evaluation.folders.comparison import scored_folder
    from evaluation.folders.scoring import evaluate_folders

    parameters = _parameters(request)
    if request.compare:
        # Before hours of scoring.
        scored_folder(request.compare)
    evaluation = evaluate_folders(predictions, truth, output, parameters)
    _tell(evaluation, output)
    if request.compare:
        _compare(output, request.compare)
    missing = evaluation.missing
    if len(missing) > parameters.max_missing:
        shown = "; ".join(f"{uid}: {why}" for uid, why in list(missing.items())[:_SHOWN])
        more = f"; and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise StageFailedError(
            f"{len(missing)} of {evaluation.total} objects lack figures, those of the others are in {output}: {shown}{more}",
            "mend them and run again, or allow so many with --max-missing",
        )


def _parameters(request: FolderRequest) -> "FolderParameters":
    from evaluation.folders.parameters import FolderParameters
    from stage.parameters import merged, read_parameters, validated

    place = str(request.parameters or "the command line")
    values = read_parameters(request.parameters) if request.parameters else {}
    chosen = {name: value for name, value in request.chosen.items() if value is not None}
    if names := chosen.pop("metric", None):
        chosen["metrics"] = {"names": names}
    parameters = validated(FolderParameters, merged(values, chosen), place)
    if request.workers is None:
        return parameters
    return parameters.model_copy(
        update={"executor": parameters.executor.model_copy(update={"workers": request.workers})}
    )


def _tell(evaluation: "FolderEvaluation", output: Path) -> None:
    from evaluation.folders.publication import SUBSET

    figures, total = evaluation.metrics(), evaluation.total
    print(
        f"evaluate: {len(evaluation.results)} of {total} objects, {figures['pairs']} views, {evaluation.kept} results kept"
    )
    for definition in evaluation.asked.definitions if evaluation.pictures else ():
        for method in figures[SUBSET]:
            if definition.name in figures[SUBSET][method]:
                print(f"evaluate: {method}: {definition.title} {_text(figures, SUBSET, method, definition)}")
    for name, mean in figures.get("geometry", {}).get(SUBSET, {}).items():
        if name not in {"objects", "measured"}:
            count = figures["geometry"][SUBSET]["measured"][name]
            print(f"evaluate: mesh: {name} {mean} ({count} of {figures['geometry'][SUBSET]['objects']} objects)")
    print(f"evaluate: see {output / 'report.html'}")


def _text(figures: dict[str, Any], subset: str, method: str, definition: Any) -> str:  # noqa: ANN401 - a MetricDefinition
    mean = figures[subset][method][definition.name]
    if isinstance(mean, str):
        return f"{mean}: {figures['unavailable'].get(definition.name, 'no object has it')}"
    digits, unit = definition.digits, f" {definition.unit}" if definition.unit else ""
    # Figures of all objects at once have no interval, nor has what the truth itself gets.
    interval = figures["intervals"][subset].get(method, {}).get(definition.name)
    within = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    return f"{mean:.{digits}f}{unit}{within}"


def _compare(output: Path, other: Path) -> None:
    from evaluation.folders.comparison import compare_folders
    from evaluation.folders.publication import write_folder_report

    comparison = compare_folders(output, other)
    for pairing in comparison.pairings:
        found, digits = pairing.difference, pairing.metric.digits + 1
        print(
            f"compare: {pairing.metric.title} {found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f}), "
            f"better on {pairing.better_on}, worse on {pairing.worse_on} of {found.count} objects: {pairing.outcome}"
        )
    for name, uids in comparison.alone.items():
        if uids:
            print(f"compare: {len(uids)} objects of {name} left out, which the other lacks or has of another truth")
    write_folder_report(output, comparison)
