"""Promises as data: what keeps them, and what is better."""

import pytest

from neurarium.running.recipe import Expect


@pytest.mark.parametrize(
    ("promise", "better", "worse"),
    [
        (Expect("accuracy", at_least=0.9), 0.95, 0.91),
        (Expect("accuracy", above=0.9), 0.5, 0.4),
        (Expect("loss", at_most=0.1), 0.01, 0.02),
        (Expect("loss", below=0.1), 0.2, 0.3),
        (Expect("modes", equals=8), 8, 7),
        (Expect("modes", equals=8), 9, 6),
        (Expect("ratio", at_least=0.5, at_most=2), 1.0, 2.1),
        (Expect("ratio", at_least=0.5, at_most=2), 0.4, 0.3),
    ],
)
def test_merit_orders_values_as_the_promise_does(promise: Expect, better: float, worse: float) -> None:
    assert promise.merit(better) > promise.merit(worse)
    assert promise.met(better) or not promise.met(worse)


def test_places_that_must_be_met_are_not_graded() -> None:
    assert Expect("accuracy", at_least=0.9).graded
    assert not Expect("modes", equals=8).graded
    ratio = Expect("ratio", at_least=0.5, at_most=2)
    assert not ratio.graded
    assert ratio.merit(0.6) == ratio.merit(1.9) == 0
