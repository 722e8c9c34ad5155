"""The result in words: how the model does against each baseline, computed and not composed.

Differences are of mean PSNR over a subset's objects, in dB; below `EQUAL_DB` two methods count as equal.
"""

from typing import Any

import pandas as pd

from evaluation.methods import BASELINES, METHOD_NAMES, MODEL
from evaluation.metrics.definitions import definition
from evaluation.pairs import pairings

EQUAL_DB = 0.05


def verdict(metrics: dict[str, Any]) -> str:
    """One sentence: which baselines the model beats on objects that it has not seen; what was scored where there is none."""
    if not _has_baselines(metrics, "unseen"):
        return _plain_verdict(metrics)
    gains = {name: _gain(metrics["unseen"], name) for name in BASELINES}
    beaten = [METHOD_NAMES[name] for name, gain in gains.items() if gain >= EQUAL_DB]
    unbeaten = [METHOD_NAMES[name] for name, gain in gains.items() if gain < EQUAL_DB]
    if not unbeaten:
        return "By its mean PSNR on objects it has not seen, the model beats both baselines."
    if not beaten:
        return "By its mean PSNR on objects it has not seen, the model beats neither baseline."
    return f"By its mean PSNR on objects it has not seen, the model beats {beaten[0]} but not {unbeaten[0]}."


def _plain_verdict(metrics: dict[str, Any]) -> str:
    """The model's PSNR where no baseline stands beside it."""
    psnr = metrics.get("unseen", {}).get("model", {}).get("psnr")
    objects = f"{metrics.get('objects', 'the')} object{'' if metrics.get('objects') == 1 else 's'}"
    return f"PSNR {psnr:.2f} dB over {objects}." if isinstance(psnr, int | float) else f"Figures of {objects}."


def sentences(metrics: dict[str, Any], table: pd.DataFrame) -> list[str]:
    """A sentence for each subset, and one on how far apart the two are.

    Args:
        metrics: content of `metrics.json`.
        table: `per_object.parquet`.
    """
    subsets = [name for name in ("unseen", "training") if _has_baselines(metrics, name)]
    found = [_subset_sentence(metrics, table, name) for name in subsets]
    return [*found, _generalisation(metrics)] if len(subsets) == 2 else found


def _has_baselines(metrics: dict[str, Any], subset: str) -> bool:
    """Whether the model and all baselines have a PSNR there."""
    figures = metrics.get(subset, {})
    return all(isinstance(figures.get(name, {}).get("psnr"), int | float) for name in ("model", *BASELINES))


def _generalisation(metrics: dict[str, Any]) -> str:
    """How far unseen objects lie behind training objects, beside how much harder they are for a constant answer."""
    gaps = {m: metrics["unseen"][m]["psnr"] - metrics["training"][m]["psnr"] for m in ("model", "mean_image")}
    words = {method: f"{abs(gap):.2f} dB {'higher' if gap > 0 else 'lower'}" for method, gap in gaps.items()}
    return (
        f"The model's PSNR is {words['model']} on unseen than on training objects; "
        f"that of the mean training image, which shows how hard the objects are, is {words['mean_image']}."
    )


def _subset_sentence(metrics: dict[str, Any], table: pd.DataFrame, subset: str) -> str:
    count = metrics[f"{subset}_objects"]
    objects = f"{count} {subset} object{'s' if count > 1 else ''}"
    figures = metrics[subset]
    against = " and ".join(_against(figures, table, subset, name, count) for name in BASELINES)
    return f"On {objects} the model reaches {figures['model']['psnr']:.2f} dB PSNR: {against}."


def _against(figures: dict[str, Any], table: pd.DataFrame, subset: str, baseline: str, count: int) -> str:
    gain = _gain(figures, baseline)
    relation = f"{abs(gain):.2f} dB {'better than' if gain > 0 else 'worse than'}"
    if abs(gain) < EQUAL_DB:
        relation = "as good as"
    ours, theirs = (_psnr(table, subset, method) for method in (MODEL, baseline))
    (pairing,) = pairings(ours, theirs, [definition("psnr")])
    doubt = ", which decides nothing" if pairing.outcome == "undecided" else ""
    return f"{relation} {METHOD_NAMES[baseline]} (better on {pairing.better_on} of {count}{doubt})"


def _psnr(table: pd.DataFrame, subset: str, method: str) -> pd.DataFrame:
    return table.loc[(table["subset"] == subset) & (table["method"] == method), ["subset", "uid", "psnr"]]


def _gain(figures: dict[str, Any], baseline: str) -> float:
    return float(figures["model"]["psnr"] - figures[baseline]["psnr"])
