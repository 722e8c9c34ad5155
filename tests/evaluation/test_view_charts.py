"""Figures by angle: right means in the right place, drawn within their frame, and nothing drawn where there is nothing to see."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_support import object_scores
from hypothesis import given
from hypothesis import strategies as st

from evaluation.chart import HEIGHT, WIDTH, Band, Line, chart_svg, round_ticks
from evaluation.metrics.definitions import METRICS
from evaluation.scores import per_view_table
from evaluation.view_curves import by_angle, places, view_charts, write_angles

NAMES = {"model": "the <model>"}


def views(azimuths: list[float], elevations: list[float], psnr: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": "model", "azimuth_deg": azimuths, "elevation_deg": elevations, "psnr": psnr}, dtype=None
    )


def test_views_of_one_azimuth_are_averaged() -> None:
    table = by_angle(views([90.0, 90.0, -90.0], [30.0] * 3, [10.0, 20.0, 40.0]), "azimuth_deg", ["psnr"])
    assert table["azimuth_deg"].tolist() == [-90.0, 90.0]
    assert table["psnr"].tolist() == [40.0, 15.0]
    assert table["views"].tolist() == [1, 2]
    # Quartiles of 10 and 20.
    assert table.loc[1, ["psnr_low", "psnr_high"]].tolist() == [12.5, 17.5]


@given(st.integers(0, 1000))
def test_scattered_angles_count_under_the_step_that_holds_them(seed: int) -> None:
    angles = np.append(np.random.default_rng(seed).uniform(-180, 180, 60), [-180.0, 180.0])
    found = places(angles, 30.0)
    assert set(found) <= set(np.arange(-165.0, 180.0, 30.0))
    assert (np.abs(found - angles) <= 15.0 + 1e-5).all()


def test_views_from_straight_above_count_under_the_highest_step() -> None:
    scattered = np.append(np.random.default_rng(0).uniform(-90, 90, 60), [-90.0, 90.0])
    assert places(scattered, 15.0, highest=90.0)[-2:].tolist() == [-82.5, 82.5]


def test_the_azimuths_of_an_orbit_stay_as_they_are() -> None:
    orbit = np.repeat(np.arange(-170.0, 181.0, 10.0), 3)
    assert places(orbit, 30.0).tolist() == orbit.tolist()


def test_dvc_gets_a_column_for_each_line(tmp_path: Path) -> None:
    scores = [object_scores("b1", "unseen", 16.0, 17.0, 19.0), object_scores("b2", "unseen", 20.0, 15.0, 19.0)]
    write_angles(tmp_path / "by_azimuth.csv", per_view_table(scores))
    table = pd.read_csv(tmp_path / "by_azimuth.csv")
    assert table["azimuth_deg"].tolist() == [90.0, 180.0]
    assert table["psnr_model"].tolist() == [18.5, 17.5]
    assert table["psnr_mean_image"].tolist() == [19.5, 18.5]
    assert "ssim_copy_input" in table


def test_an_orbit_of_one_height_has_no_chart_by_elevation() -> None:
    table = per_view_table([object_scores("b1", "unseen", 16.0, 17.0, 19.0)])
    charts = view_charts(table, list(METRICS.values()), ["model", "copy_input", "mean_image"], NAMES)
    assert [chart.metric.name for chart in charts] == ["psnr", "ssim"]
    assert charts[0].azimuth is not None
    assert charts[0].elevation is None
    # One line a method, and names are escaped.
    assert charts[0].azimuth.count("<polyline") == 3
    assert "the &lt;model&gt;" in charts[0].azimuth


def test_views_without_cameras_have_no_chart() -> None:
    table = views([float("nan")] * 3, [float("nan")] * 3, [1.0, 2.0, 3.0])
    (chart,) = view_charts(table, [METRICS["psnr"]], ["model"], NAMES)
    assert chart.azimuth is None
    assert chart.elevation is None


@pytest.mark.parametrize(("bound", "lines"), [(25.0, 2), (100.0, 1)])
def test_an_upper_bound_far_above_does_not_flatten_the_other_lines(bound: float, lines: int) -> None:
    model = views([-90.0, 0.0, 90.0], [30.0] * 3, [10.0, 20.0, 12.0])
    table = pd.concat([model, model.assign(method="autoencoder", psnr=bound)])
    (chart,) = view_charts(table, [METRICS["psnr"]], ["model", "autoencoder"], NAMES)
    assert chart.azimuth is not None
    assert chart.azimuth.count("<polyline") == lines
    assert chart.outside == ("" if lines == 2 else "autoencoder lies outside, at 100.00")


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-1e4, 1e4)), min_size=1, max_size=20))
def test_everything_is_drawn_within_the_frame(points: list[tuple[float, float]]) -> None:
    band = Band([(x, y - 1.0, y + 1.0) for x, y in sorted(points)])
    svg = chart_svg([Line("model", "model", sorted(points))], band, "x", "y")
    assert "nan" not in svg
    for places_of in re.findall(r'points="([^"]*)"', svg):
        pairs = np.array([[float(value) for value in pair.split(",")] for pair in places_of.split()])
        assert (pairs >= 0).all()
        assert (pairs <= [WIDTH, HEIGHT]).all()


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5))
def test_round_numbers_lie_between_the_ends(low: float, extent: float) -> None:
    ticks = round_ticks(low, low + extent)
    assert 2 <= len(ticks) <= 8
    room = extent * 1e-6
    assert low - room <= min(ticks) < max(ticks) <= low + extent + room
