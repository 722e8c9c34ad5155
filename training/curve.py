"""The loss curve of a run as a CSV file, which DVC plots and the report reads.

Rows are appended as steps end. A resumed run first drops the rows after its checkpoint, so that its curve equals an
undisturbed one's.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from stage.files import write_text

_HEADER = "step,loss,learning_rate,gradient_norm\n"


@dataclass(frozen=True)
class CurvePoint:
    """Figures of one optimiser step, counted from 1."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class LossCurve:
    """The CSV file of a run.

    Args:
        path: the file.
        done: steps that the run resumes after; rows of later ones are dropped.
    """

    def __init__(self, path: Path, done: int) -> None:
        kept = [point for point in read_curve(path) if point.step <= done] if path.is_file() else []
        write_text(path, _HEADER + "".join(_line(point) for point in kept))
        self._stream = path.open("a", buffering=1)

    def append(self, point: CurvePoint) -> None:
        """Add one step's figures."""
        self._stream.write(_line(point))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_curve(path: Path) -> list[CurvePoint]:
    """The rows of a curve; a last line cut short by a kill is left out."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [
        CurvePoint(int(row["step"]), *(float(row[key]) for key in ("loss", "learning_rate", "gradient_norm")))
        for row in csv.DictReader(whole.splitlines())
    ]


def _line(point: CurvePoint) -> str:
    return f"{point.step},{point.loss:.8g},{point.learning_rate:.8g},{point.gradient_norm:.8g}\n"
