"""The proof that fused views agree: of a ball with two possible colours behind, views by themselves pick one each."""

import pytest

from benchmarks.viewfusion_ablation import learnt, measure


@pytest.mark.slow
def test_fused_views_agree_more_than_views_by_themselves() -> None:
    found = measure(learnt(900), 8, 1.0, None)
    (plain, plain_error), (fused, fused_error) = found["by themselves"], found["fused, paper"]
    assert fused < plain
    assert fused_error < plain_error
