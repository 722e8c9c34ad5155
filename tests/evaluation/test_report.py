"""The report: what it says follows from the figures, it needs nothing but itself, and it has the same bytes twice."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from evaluation.headline import sentences, verdict
from evaluation.loss_curve import loss_svg, read_loss
from evaluation.report import build_report, write_report
from stage.errors import InputError
from stage.files import write_json
from stage.workspace import Workspace

DECISION = {
    "model": "viewforge-zero123",
    "version": 2,
    "promoted": False,
    "gate": "production",
    "alias": "challenger",
    "reasons": ["unseen psnr is worse than mean_image"],
    "checks": [
        {
            "metric": "unseen.psnr",
            "value": 18.0,
            "reference": 19.0,
            "reference_name": "mean_image",
            "margin": 0.1,
            "passed": False,
        }
    ],
}


class Page(HTMLParser):
    """Text, addresses, and whether every tag that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the tag and where it points."""
        if tag not in {"meta", "img", "br", "line", "polyline"}:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href", "srcset"}]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself needs no partner."""

    def handle_endtag(self, tag: str) -> None:
        """The tag closes the one opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, runs of white space as one space."""
        return re.sub(r"\s+", " ", "".join(self.words))


def write_curve(workspace: Workspace, losses: list[float]) -> None:
    workspace.training_report.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{step},{loss},0.001,1.0\n" for step, loss in enumerate(losses, 1))
    (workspace.training_report / "loss.csv").write_text("step,loss,learning_rate,gradient_norm\n" + rows)


def test_the_report_says_what_the_figures_say(evaluated: Workspace) -> None:
    write_curve(evaluated, list(np.geomspace(1.0, 0.05, 300)))
    page = Page(build_report(evaluated, None))
    assert not page.open
    assert "the model beats copying the input view but not the mean training image." in page.text
    assert (
        "On 2 unseen objects the model reaches 18.00 dB PSNR: 2.00 dB better than copying the input view "
        "(better on 1 of 2) and 1.00 dB worse than the mean training image (better on 1 of 2)." in page.text
    )
    assert "On 1 training object the model reaches 22.00 dB PSNR: 6.00 dB better than copying" in page.text
    assert "The model's PSNR is 4.00 dB lower on unseen than on training objects" in page.text
    assert "not decided yet: run viewforge promote" in page.text
    assert "parse: no <glTF>" in page.text
    assert "title <b1>" in page.text


def test_every_address_is_inside_the_file(evaluated: Workspace) -> None:
    html = build_report(evaluated, DECISION)
    addresses = Page(html).addresses
    assert sum(address.startswith("data:image/png;base64,") for address in addresses) == 3
    sections = {address.removeprefix("#") for address in addresses if address.startswith("#")}
    assert len(sections) == 8
    assert all(f'id="{section}"' in html for section in sections)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://", html)


def test_a_metric_that_is_not_available_is_never_a_number(evaluated: Workspace) -> None:
    page = Page(build_report(evaluated, None))
    assert "lpips is not available: the package lpips is not installed." in page.text
    assert page.text.count("not available") == 7
    metrics = json.loads((evaluated.evaluation / "metrics.json").read_text())
    assert metrics["unseen"]["model"]["lpips"] == "not available"


def test_an_available_lpips_is_shown_and_the_lowest_is_best(evaluated: Workspace) -> None:
    path = evaluated.evaluation / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["unavailable"] = {}
    for number, method in enumerate(metrics["unseen"]):
        metrics["unseen"][method]["lpips"] = metrics["training"][method]["lpips"] = 0.1 * (3 - number)
    write_json(path, metrics)
    html = build_report(evaluated, None)
    assert "not available" not in html
    assert html.count('<td class="n best">0.100</td>') == 2


def test_a_decision_is_shown_with_its_reasons_and_checks(evaluated: Workspace) -> None:
    text = Page(build_report(evaluated, DECISION)).text
    assert "Not promoted: viewforge-zero123 version 2 has the alias challenger, by the gate production." in text
    assert "unseen psnr is worse than mean_image" in text
    assert "not decided yet" not in text
    assert "Promoted: viewforge" in Page(build_report(evaluated, {**DECISION, "promoted": True, "checks": []})).text


def test_objects_come_worst_first(evaluated: Workspace) -> None:
    text = Page(build_report(evaluated, None)).text
    assert text.index("title <b1>") < text.index("title <b2>") < text.index("title <a1>")
    assert "-3.00" in text
    assert "+1.00" in text


def test_problems_of_earlier_stages_are_listed(evaluated: Workspace) -> None:
    path = evaluated.renders / "objects.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "warnings"] = "missing texture: a.png; animated: 2 actions"
    table.loc[1, ["complete", "failure", "message"]] = [False, "blank", "nothing to see"]
    table.to_parquet(path)
    text = Page(build_report(evaluated, None)).text
    for words in ("missing texture: a.png", "animated: 2 actions", "blank: nothing to see"):
        assert words in text


def test_the_same_workspace_gives_the_same_bytes(evaluated: Workspace) -> None:
    write_curve(evaluated, [1.0, 0.5, 0.25])
    paths = [evaluated.root / name for name in ("first.html", "second.html")]
    for path in paths:
        write_report(evaluated, path, DECISION)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert str(evaluated.root) not in paths[0].read_text()


def test_without_an_evaluation_there_is_no_report(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"no evaluation .*metrics.json; run viewforge evaluate first"):
        build_report(workspace, None)


def test_missing_parts_are_said_and_not_drawn(evaluated: Workspace) -> None:
    (evaluated.evaluation / "gallery_unseen.png").unlink()
    text = Page(build_report(evaluated, None)).text
    assert "There is no loss curve in this workspace" in text
    assert "The picture is missing: run viewforge evaluate." in text


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.5], [1e-3, 1e3], list(np.geomspace(1, 0.01, 5000))])
def test_the_loss_curve_stays_in_its_frame(workspace: Workspace, losses: list[float]) -> None:
    write_curve(workspace, losses)
    curve = read_loss(workspace.training_report / "loss.csv")
    assert curve is not None
    svg = loss_svg(curve)
    lines = re.findall(r'points="([^"]*)"', svg)
    assert len(lines) == 2
    for points in lines:
        places = np.array([[float(value) for value in pair.split(",")] for pair in points.split()])
        assert len(places) <= 1000
        assert places[:, 0].min() >= 0
        assert places[:, 0].max() <= 860
        assert places[:, 1].min() >= 0
        assert places[:, 1].max() <= 300


def test_steps_without_a_finite_loss_are_not_drawn(workspace: Workspace) -> None:
    write_curve(workspace, [1.0, float("nan"), float("inf"), 0.5])
    curve = read_loss(workspace.training_report / "loss.csv")
    assert curve is not None
    assert curve.steps.tolist() == [1, 4]
    assert "nan" not in loss_svg(curve)


@pytest.mark.parametrize(
    ("model", "words"),
    [(20.0, "beats both baselines"), (15.0, "beats neither baseline"), (18.5, "but not the mean training image")],
)
def test_the_verdict_follows_from_the_figures(model: float, words: str) -> None:
    figures = {"model": {"psnr": model}, "copy_input": {"psnr": 18.0}, "mean_image": {"psnr": 19.0}}
    assert words in verdict({"unseen": figures})


def test_a_difference_too_small_to_see_is_no_victory() -> None:
    figures = {name: {"psnr": 18.0} for name in ("copy_input", "mean_image")} | {"model": {"psnr": 18.04}}
    metrics = {"unseen": figures, "training": figures, "unseen_objects": 1, "training_objects": 1}
    rows = [
        {"uid": "u", "subset": subset, "method": method, "psnr": values["psnr"]}
        for subset in ("unseen", "training")
        for method, values in figures.items()
    ]
    assert "beats neither baseline" in verdict(metrics)
    assert "as good as copying the input view" in sentences(metrics, pd.DataFrame(rows))[0]
