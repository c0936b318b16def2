"""Splits by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.datasets.splits import held_out_cases

names = st.lists(st.text("abcdefgh0123", min_size=1, max_size=6), min_size=2, max_size=40)


@given(names, st.floats(0.01, 0.9), st.integers(0, 99))
def test_the_split_does_not_depend_on_the_order(cases, share, seed):
    chosen = held_out_cases(cases, share, seed)
    assert chosen == held_out_cases(list(reversed(cases)), share, seed)
    assert chosen <= set(cases)


@given(names, st.floats(0.01, 0.9), st.integers(0, 99))
def test_the_share_is_that_of_the_cases(cases, share, seed):
    distinct = len(set(cases))
    count = len(held_out_cases(cases, share, seed))
    if distinct > 1:
        assert 1 <= count < distinct
        assert abs(count - share * distinct) <= 1
    else:
        assert count == round(share)


def test_nothing_is_held_out_for_a_share_of_zero():
    assert held_out_cases(["a", "b", "c"], 0.0, 1) == frozenset()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        held_out_cases(["a", "b", "c"], share, 1)


def test_another_seed_is_another_split():
    cases = [str(i) for i in range(50)]
    assert held_out_cases(cases, 0.3, 1) != held_out_cases(cases, 0.3, 2)


def test_a_new_case_moves_few_others():
    cases = [str(i) for i in range(100)]
    before = held_out_cases(cases, 0.2, 7)
    after = held_out_cases([*cases, "new"], 0.2, 7)
    assert len(before ^ after) <= 2


def test_the_split_of_a_version_stays_the_split():
    """Bundled weights name a split by its seed: this list must never change."""
    assert sorted(held_out_cases([f"case{i}" for i in range(12)], 0.25, 43)) == PINNED


PINNED = ["case3", "case7", "case8"]
