"""The loss curve's file."""

from pathlib import Path

import pytest

from training.curve import CurvePoint, LossCurve, read_curve


def point(step: int) -> CurvePoint:
    return CurvePoint(step, 1 / (step + 2), 1e-3 / step, 0.123456789 * step)


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """A curve of five steps."""
    path = tmp_path / "loss.csv"
    rows = LossCurve(path, 0)
    for step in range(1, 6):
        rows.append(point(step))
    rows.close()
    return path


def test_rows_are_on_disk_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    rows = LossCurve(tmp_path / "loss.csv", 0)
    rows.append(point(1))
    assert len(read_curve(tmp_path / "loss.csv")) == 1
    rows.close()


def test_the_file_has_a_header_and_a_row_a_step(curve: Path) -> None:
    lines = curve.read_text().splitlines()
    assert lines[0] == "step,loss,learning_rate,gradient_norm"
    assert lines[1] == "1,0.33333333,0.001,0.12345679"
    assert [p.step for p in read_curve(curve)] == [1, 2, 3, 4, 5]


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(curve: Path) -> None:
    undisturbed = curve.read_bytes()
    rows = LossCurve(curve, 3)
    assert [p.step for p in read_curve(curve)] == [1, 2, 3]
    for step in (4, 5):
        rows.append(point(step))
    rows.close()
    assert curve.read_bytes() == undisturbed


def test_a_new_run_starts_an_empty_curve(curve: Path) -> None:
    LossCurve(curve, 0).close()
    assert read_curve(curve) == []


@pytest.mark.parametrize("cut", [1, 2, 10, 30])
def test_a_line_cut_short_by_a_kill_is_dropped(curve: Path, cut: int) -> None:
    undisturbed = curve.read_bytes()
    curve.write_bytes(undisturbed[:-cut])
    assert [p.step for p in read_curve(curve)] == [1, 2, 3, 4]
    rows = LossCurve(curve, 4)
    rows.append(point(5))
    rows.close()
    assert curve.read_bytes() == undisturbed
