"""The model's answers for a subset's objects, one group after the other: kept ones are read, the others are sampled and kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from catalog.table import Asset
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import Prediction, PredictionStore, prediction_key
from evaluation.protocol import ObjectViews, Subset
from evaluation.sampling import predict_group
from evaluation.scales import object_scale
from stage.errors import InputError
from stage.failures import FailureClass, Outcome
from systems.object_pipeline import ObjectPipeline


@dataclass(frozen=True)
class Failed:
    """An object that has no answer."""

    outcome: Outcome


@dataclass(frozen=True, eq=False)
class Answered:
    """An object with the model's answer."""

    views: ObjectViews
    prediction: Prediction


Answer: TypeAlias = Failed | Answered


@dataclass(frozen=True)
class Sampler:
    """Gives the predictions of a subset's objects, those that are kept without sampling.

    Args:
        pipeline: the trained model.
        parameters: sampler settings, and how many objects are sampled together.
        seed: the run's seed.
        recipe: hash of all that decides an answer but what the model is shown.
        root: folder of kept predictions, a folder a subset below.
    """

    pipeline: ObjectPipeline
    parameters: EvaluateParameters
    seed: int
    recipe: str
    root: Path

    def answers(self, subset: Subset) -> Iterator[Answer]:
        """The objects of a subset with the model's answers, in order of uid, a group in memory at a time.

        Raises:
            InputError: when the system needs a scale that cannot be measured.
        """
        assets, size = subset.assets, self.parameters.objects_per_batch
        store = PredictionStore(self.root / subset.name)
        for first in range(0, len(assets), size):
            read = [_read(subset, asset) for asset in assets[first : first + size]]
            group = [views for views in read if isinstance(views, ObjectViews)]
            predictions = dict(zip((views.asset.uid for views in group), self._answered(group, store), strict=True))
            for views in read:
                yield views if isinstance(views, Failed) else _answer(views, predictions[views.asset.uid])

    def _answered(self, group: Sequence[ObjectViews], store: PredictionStore) -> list[Prediction]:
        scales = [object_scale(self.pipeline, views, self.parameters.scale) for views in group]
        key = prediction_key(self.recipe, group, scales)
        kept = [store.read(views.asset.uid, key) for views in group]
        known = [prediction for prediction in kept if prediction is not None]
        if len(known) == len(group):
            return known
        made = predict_group(self.pipeline, group, scales, self.parameters, self.seed)
        for views, prediction in zip(group, made, strict=True):
            store.write(views.asset.uid, key, prediction)
        return made


def _read(subset: Subset, asset: Asset) -> ObjectViews | Failed:
    try:
        return subset.read(asset)
    except InputError as error:
        return _failed(asset, FailureClass.PARSE, str(error))


def _answer(views: ObjectViews, prediction: Prediction) -> Answer:
    wrong = int((~np.isfinite(prediction.pictures)).any(axis=(1, 2, 3)).sum())
    if wrong:
        message = f"{wrong} of the model's {len(prediction.pictures)} pictures hold numbers that are not finite"
        return _failed(views.asset, FailureClass.NOT_FINITE, message)
    return Answered(views, prediction)


def _failed(asset: Asset, failure: FailureClass, message: str) -> Failed:
    return Failed(Outcome(asset.uid, failure, message, "", 1, 0.0, 0, {}))
