"""The proof that cross-view attention makes views agree: without it each of them picks an object of its own."""

import pytest

from benchmarks.zero_1_to_g_ablation import measure


@pytest.mark.slow
@pytest.mark.minutes(3)
def test_views_disagree_without_attention_across_them() -> None:
    found = measure(steps=800, samples=32)
    assert found[False] > 2.0 * found[True]
