"""The report: what it says follows from the figures, it needs nothing but itself, and it has the same bytes twice."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_support import object_scores

from evaluation.headline import sentences, verdict
from evaluation.loss_curve import loss_svg, read_loss
from evaluation.metrics.definitions import figures_line
from evaluation.report import build_report, report_of, write_report
from evaluation.scores import per_object_table
from evaluation.strips import STRIPS_FILE, choose_shown, draw_strip, write_strips
from stage.errors import InputError
from stage.files import write_json
from stage.workspace import Workspace

BROWSER = shutil.which("chromium")
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
        if tag not in {"meta", "img", "br", "line", "polyline", "polygon", "circle"}:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href", "srcset"}]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself needs no partner."""

    def handle_endtag(self, tag: str) -> None:
        """The tag closes the one opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text that is shown."""
        if self.open[-1:] not in (["style"], ["script"]):
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
        "(better on 1 of 2, which decides nothing) and 1.00 dB worse than the mean training image (better on 1 of 2, which "
        "decides nothing)." in page.text
    )
    assert "On 1 training object the model reaches 22.00 dB PSNR: 6.00 dB better than copying" in page.text
    assert "The model's PSNR is 4.00 dB lower on unseen than on training objects" in page.text
    assert "not decided yet: run viewforge promote" in page.text
    assert "parse: no <glTF>" in page.text
    assert "title <b1>" in page.text


def test_a_methods_line_has_the_figures_that_it_has() -> None:
    assert figures_line({"psnr": 18.213, "ssim": 0.80149, "lpips": "not available"}) == "PSNR 18.21 dB, SSIM 0.801"
    assert figures_line({"sift_matches": 13.8}) == "SIFT matches 13.80"
    assert figures_line({"psnr": "not available"}) == "not available"


def test_every_address_is_inside_the_file(evaluated: Workspace) -> None:
    html = build_report(evaluated, DECISION)
    addresses = Page(html).addresses
    assert sum(address.startswith("data:image/png;base64,") for address in addresses) == 3
    sections = {address.removeprefix("#") for address in addresses if address.startswith("#")}
    assert len(sections) == 10
    assert all(f'id="{section}"' in html for section in sections)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://", html)


def test_a_metric_that_is_not_available_is_never_a_number(evaluated: Workspace) -> None:
    page = Page(build_report(evaluated, None))
    assert "LPIPS, VGG is not available: the package lpips is not installed." in page.text
    assert "truth through the autoencoder is not available: no model was given." in page.text
    # LPIPS of four methods and PSNR and SSIM of one, in two subsets; the two reasons; the one's PSNR of three objects.
    assert page.text.count("not available") == 2 * (4 + 2) + 2 + 3
    metrics = json.loads((evaluated.evaluation / "metrics.json").read_text())
    assert metrics["unseen"]["model"]["lpips"] == "not available"


def test_an_available_lpips_is_shown_and_the_lowest_is_best(evaluated: Workspace) -> None:
    path = evaluated.evaluation / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["unavailable"] = {}
    for number, method in enumerate(("autoencoder", "model", "copy_input", "mean_image")):
        for subset in ("unseen", "training"):
            metrics[subset][method]["lpips"] = 0.1 * (number + 1)
    write_json(path, metrics)
    html = build_report(evaluated, None)
    assert "LPIPS, VGG is not available" not in html
    # The model's: the upper bound, which no model reaches, is out of competition.
    assert html.count('<td class="n best">0.200</td>') == 2
    assert html.count('<td class="n">0.100</td>') == 2


def test_the_true_views_stand_beside_figures_of_consistency_and_win_nothing(evaluated: Workspace) -> None:
    path = evaluated.evaluation / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["unseen"]["truth"] = {"ssim": 0.999}
    write_json(path, metrics)
    html = build_report(evaluated, None)
    row = re.search(r'<tr class="truth">.*?</tr>', html, re.DOTALL)
    assert row is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", row[0]) == ["–", "0.999", "–"]
    assert "best" not in row[0]
    # The mean image keeps its victories: 19 dB against 18 and 16.
    assert '<td class="n best">19.00' in html


def test_a_decision_is_shown_with_its_reasons_and_checks(evaluated: Workspace) -> None:
    text = Page(build_report(evaluated, DECISION)).text
    assert "Not promoted: viewforge-zero123 version 2 has the alias challenger, by the gate production." in text
    assert "unseen psnr is worse than mean_image" in text
    assert "not decided yet" not in text
    assert "Promoted: viewforge" in Page(build_report(evaluated, {**DECISION, "promoted": True, "checks": []})).text


def test_a_decision_over_pairs_of_objects_shows_their_interval(evaluated: Workspace) -> None:
    check = {**DECISION["checks"][0], "advantage": -1.0, "low": -3.0, "high": 1.0, "objects": 2}
    decision = {**DECISION, "checks": [check], "outcome": "awaiting approval", "alias": None}
    text = Page(build_report(evaluated, decision)).text
    assert "Awaiting approval: viewforge-zero123 version 2 has no alias" in text
    assert "-1[-3, +1]" in text


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


def test_of_very_many_problems_the_page_has_the_first(evaluated: Workspace) -> None:
    problem = {"stage": "evaluate", "title": "t", "consequence": "quarantined", "what": "blank", "uid": "u"}
    change = json.loads((evaluated.evaluation / "details.json").read_text()) | {"problems": [problem] * 2500}
    (evaluated.evaluation / "details.json").write_text(json.dumps(change))
    html = build_report(evaluated, None)
    assert html.count(">blank<") == 2000
    assert "The first 2000 of 2500" in Page(html).text


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


def test_figures_stand_beside_their_intervals_and_pairs(evaluated: Workspace) -> None:
    html = build_report(evaluated, None)
    text = Page(html).text
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    # Of 16 and 20 dB nothing between them can be ruled out.
    assert "18.00[16.00, 20.00]" in text
    assert "unseen, 2 objects: too few for an interval to be trusted" in text
    # Model minus copy: −1 and 5; minus mean: −3 and 1.
    pair = ["unseen", "PSNR, dB ↑"]
    assert ["copy the input view", *pair, "+2.000", "-1.000", "+5.000", "1", "1", "0", "2", "undecided"] in rows
    assert ["mean training image", *pair, "-1.000", "-3.000", "+1.000", "1", "1", "0", "2", "undecided"] in rows
    assert "Gaussian window of 11×11" in text


def test_published_figures_stand_apart_with_protocol_and_source(evaluated: Workspace) -> None:
    html = build_report(evaluated, None)
    first, _, folded = html.partition("<details>\n<summary>26 tables of other protocols")
    assert "SyncDreamer (arXiv 2309.03453), table 1" in first
    assert "16 views at equal steps of azimuth, elevation 30°" in first
    assert "the objects are others" in first
    assert "DietNeRF" not in first
    assert "DietNeRF" in folded
    assert "read second-hand" in folded
    assert "Zero-1-to-G: The tables of the paper (TMLR 2025) were not to be had" in folded


def test_a_folder_of_scores_is_reported_without_model_or_training(evaluated: Workspace) -> None:
    folder = evaluated.evaluation
    for name in ("details.json", "per_view.parquet", "contact_sheet.png"):
        (folder / name).unlink()
    metrics = json.loads((folder / "metrics.json").read_text())
    only = {name: metrics[name] for name in ("protocol", "data_sha256", "objects")} | {
        "unseen": {"model": metrics["unseen"]["model"]},
        "complete": False,
        "missing": {"x": "no predictions"},
        "objects_of_truth": 3,
    }
    write_json(folder / "metrics.json", only)
    page = Page(report_of(folder, "pictures of a program"))
    assert not page.open
    assert "pictures of a program" in page.text
    assert "1 of 3 objects lack figures" in page.text
    assert "There are no figures of single views" in page.text
    for word in ("Promotion", "Training loss", "copy the input view unseen"):
        assert word not in page.text


def test_a_page_of_a_thousand_objects_stays_small_and_has_every_row(evaluated: Workspace) -> None:
    scores = [object_scores(f"{n:064d}", "unseen", 10.0 + n / 100, 9.0, 8.0) for n in range(1030)]
    per_object_table([*scores, object_scores("a1", "training", 22.0, 16.0, 17.0)]).to_parquet(
        evaluated.evaluation / "per_object.parquet", index=False
    )
    noise = np.random.default_rng(0).uniform(0, 1, (15, 64, 64, 3))
    strips = [
        draw_strip(shown, noise, noise, list(range(0, 300, 20)), noise[0])
        for shown in choose_shown(pd.read_parquet(evaluated.evaluation / "per_object.parquet"))
    ]
    write_strips(evaluated.evaluation / STRIPS_FILE, strips)
    html = build_report(evaluated, None)
    assert len(html) < 5e6
    assert html.count('loading="lazy" width=') == len(strips) == 13
    objects = html.partition('id="objects"')[2]
    assert objects.count('<th scope="row">') >= 1030
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', html)
    assert len(alts) == html.count("<img")
    assert all(alts)


def title_after(script: str, html: str, folder: Path) -> str:
    """What a script wrote into the title of a page in a browser."""
    page = folder / "page.html"
    page.write_text(html.replace("</body>", f"<script>{script}</script></body>"))
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
    command = ["chromium", "--headless", "--no-sandbox", *quiet, f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None
    return title[1]


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_click_on_a_heading_sorts_and_what_is_not_available_comes_last(evaluated: Workspace, tmp_path: Path) -> None:
    figures = {"u9": 9.0, "u10": 10.0, "u0": None}
    rows = [object_scores(uid, "unseen", value, 1.0, 1.0) for uid, value in figures.items()]
    per_object_table([*rows, object_scores("a1", "training", 22.0, 16.0, 17.0)]).to_parquet(
        evaluated.evaluation / "per_object.parquet", index=False
    )
    click = (
        "const table = document.querySelector('#objects table.sortable');"
        "const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join(' ');"
        "const found = [order()];"
        "for (let n = 0; n < 2; n++) { table.querySelectorAll('th button')[2].click(); found.push(order()); }"
        "found.push(table.querySelectorAll('thead th')[2].getAttribute('aria-sort'));"
        "document.title = found.join(' | ');"
    )
    title = title_after(click, build_report(evaluated, None), tmp_path)
    names = {uid: f"title &lt;{uid}&gt;" for uid in ("u0", "u9", "u10", "a1")}
    orders = [("u0", "u9", "u10", "a1"), ("u9", "u10", "a1", "u0"), ("a1", "u10", "u9", "u0")]
    assert title.split(" | ") == [" ".join(names[uid] for uid in order) for order in orders] + ["descending"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_nothing_leaves_a_narrow_page_sideways(evaluated: Workspace, tmp_path: Path) -> None:
    measure = (
        "document.body.style.width = '400px';"
        "const parts = [...document.querySelectorAll('section > *, .charts > *, svg.chart')];"
        "document.title = parts.length + ' ' + Math.max(...parts.map((part) => part.getBoundingClientRect().right));"
    )
    parts, right = title_after(measure, build_report(evaluated, None), tmp_path).split()
    assert int(parts) > 20
    assert float(right) <= 400


def test_the_head_says_under_which_protocol_it_was_measured_and_what_was_changed(evaluated: Workspace) -> None:
    path = evaluated.evaluation / "details.json"
    details = json.loads(path.read_text())
    details["preset"] = {
        "name": "viewfusion",
        "title": "free renders",
        "source": "ViewFusion, section 4",
        "unpublished": "the objects",
        "published_objects": None,
        "differences": {"guidance_scale": [3.0, 1.0], "objects": [None, ["a", "b", "c", "d"]]},
    }
    details["settings"]["view_fusion"] = {"weights": "paper"}
    write_json(path, details)
    html = build_report(evaluated, None)
    text = Page(html).text
    assert "viewfusion, 16 views: free renders" in text
    assert "guidance scale, not as published1.0 instead of 3.0" in re.sub(r"\s*\n\s*", "", text)
    assert "4 named instead of none" in text
    assert "views fused with the paper weights" in text
    # Published tables go by the chosen protocol, not by the cameras' name.
    assert "ViewFusion, new views of GSO, free renders" in html.partition("tables of other protocols")[0]
    assert "SyncDreamer, new views of GSO" in html.partition("tables of other protocols")[2]


def test_objects_without_an_answer_are_counted_at_the_head(evaluated: Workspace) -> None:
    path = evaluated.evaluation / "metrics.json"
    write_json(path, {**json.loads(path.read_text()), "failed": {"unseen": 1, "training": 0}})
    assert (
        "1 object could not be rendered or sampled; means are over the others."
        in Page(build_report(evaluated, None)).text
    )
