"""Splits: from the uid alone, in about the shares asked for."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog.folder import uid_of
from catalog.parameters import CatalogParameters
from catalog.split import SplitParameters, split_of
from stage.errors import ParameterError
from stage.parameters import validated

shares = st.floats(0, 0.49).flatmap(
    lambda val: st.floats(0, 0.49).map(lambda test: SplitParameters(val=val, test=test))
)


@settings(deadline=None)
@given(uid=st.text(), split=shares)
def test_a_split_follows_from_the_uid_alone(uid: str, split: SplitParameters) -> None:
    assert split_of(uid, split) in {"train", "val", "test"}
    assert split_of(uid, split) == split_of(uid, split)


@settings(deadline=None)
@given(uid=st.text(), split=shares)
def test_no_object_is_held_out_of_a_share_of_nothing(uid: str, split: SplitParameters) -> None:
    assert split_of(uid, SplitParameters(val=0, test=0)) == "train"
    assert split_of(uid, SplitParameters(val=split.val, test=0)) != "test"


@settings(deadline=None)
@given(uid=st.text(), split=shares)
def test_a_larger_test_share_takes_no_object_out_of_the_test_split(uid: str, split: SplitParameters) -> None:
    """So that objects a model was tested on before are not trained on later."""
    larger = SplitParameters(val=split.val, test=min(split.test + 0.02, 0.5))
    if split_of(uid, split) == "test":
        assert split_of(uid, larger) == "test"


def test_the_shares_are_met() -> None:
    counts = Counter(split_of(uid_of(f"{number}"), SplitParameters(val=0.1, test=0.2)) for number in range(5000))
    assert counts["val"] / 5000 == pytest.approx(0.1, abs=0.02)
    assert counts["test"] / 5000 == pytest.approx(0.2, abs=0.02)


def test_splits_do_not_change_between_versions() -> None:
    """A changed split would leak test objects into training."""
    names = "abcdefghij"
    split = SplitParameters(val=0.25, test=0.25)
    held_out = {name: split_of(uid_of(name), split) for name in names if split_of(uid_of(name), split) != "train"}
    assert held_out == {"c": "val", "d": "test", "f": "test"}


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (1.0, 0.0), (0.9, 0.9)])
def test_shares_that_leave_nothing_to_train_on_are_refused(val: float, test: float) -> None:
    with pytest.raises(ValidationError, match="leaves nothing to train on"):
        SplitParameters(val=val, test=test)
    with pytest.raises(ParameterError, match=r"params\.yaml: catalog\.split.*leaves nothing to train on"):
        validated(CatalogParameters, {"split": {"val": val, "test": test}}, "params.yaml: catalog")
