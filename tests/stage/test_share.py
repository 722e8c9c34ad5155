"""Shares: together they are everything, apart they have nothing in common, and they cost about the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage.errors import ParameterError
from stage.share import Share

COSTS = st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0.01, 1000.0), max_size=60)


@given(costs=COSTS, count=st.integers(1, 9))
def test_each_object_is_in_exactly_one_share(costs: dict[str, float], count: int) -> None:
    shares = [Share(number, count).of(costs) for number in range(1, count + 1)]
    assert sorted(uid for share in shares for uid in share) == sorted(costs)


@given(costs=COSTS, count=st.integers(1, 9), data=st.data())
def test_the_order_of_the_catalogue_does_not_matter(costs: dict[str, float], count: int, data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(costs.items()))))
    assert Share(1, count).of(shuffled) == Share(1, count).of(costs)


@given(costs=COSTS.filter(bool), count=st.integers(1, 9))
def test_no_share_is_much_longer_than_it_must_be(costs: dict[str, float], count: int) -> None:
    loads = [sum(costs[uid] for uid in Share(number, count).of(costs)) for number in range(1, count + 1)]
    at_least = max(sum(costs.values()) / count, max(costs.values()))
    assert max(loads) - min(loads) <= max(costs.values()) * (1 + 1e-9)
    assert max(loads) <= 2 * at_least * (1 + 1e-9)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/2", ""])
def test_what_names_no_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ParameterError, match="count from 1, as in 1/16 to 16/16"):
        Share.parse(text)


def test_a_share_is_counted_from_one() -> None:
    assert Share.parse("3/16") == Share(3, 16)
    assert Share.parse("16/16").name == "16-of-16"
