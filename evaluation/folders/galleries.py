"""Strips of a scored folder's worst and best objects, from their pictures read once more: a dozen, however many there are."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.folders.layout import ObjectFiles
from evaluation.folders.views import Side, predicted_pictures, read_bytes, scored_views, true_pictures
from evaluation.strips import Shown, Strip, choose_shown, draw_strip
from stage.errors import InputError
from stage.failures import ObjectFailedError

if TYPE_CHECKING:
    from evaluation.folders.publication import FolderEvaluation


def strips(
    evaluation: "FolderEvaluation",
    table: pd.DataFrame,
    truth: Mapping[str, ObjectFiles],
    predictions: Mapping[str, ObjectFiles],
) -> Iterator[Strip]:
    """A strip of each object that is shown.

    Args:
        evaluation: whose results tell the angles.
        table: `per_object.parquet`.
        truth: the truth's files by object.
        predictions: the predictions' likewise.

    Raises:
        InputError: when a picture has changed since it was scored, and cannot be read.
    """
    for shown in choose_shown(table) if evaluation.pictures else ():
        try:
            yield _strip(evaluation, shown, truth[shown.uid], predictions[shown.uid])
        except ObjectFailedError as error:
            raise InputError(f"{shown.uid} has changed since it was scored: {error}", "run again") from None


def _strip(evaluation: "FolderEvaluation", shown: Shown, truth: ObjectFiles, prediction: ObjectFiles) -> Strip:
    settings = evaluation.parameters
    sides = [
        Side(files, {view: read_bytes(path) for view, path in files.views.items()}) for files in (truth, prediction)
    ]
    views, pictures = scored_views(truth, settings.input_view), true_pictures(sides[0])
    answer = predicted_pictures(sides[1], views, pictures, settings.resize, settings.sample)
    condition = None if settings.input_view is None else pictures[settings.input_view]
    poses = evaluation.results[shown.uid].poses
    targets = np.stack([pictures[view] for view in views])
    angles = [pose.azimuth_deg for pose in poses] if poses else None
    return draw_strip(shown, targets, answer, angles or list(range(len(views))), condition, None if angles else views)
