"""Predictions are summed up together, and the sums are those of one by one."""

import math

import numpy as np
import pytest

from edge.inference.drift.predictions import BINS, NOTED, PredictionGatherer
from tests.drifting import subject


def test_sums_of_many_are_those_of_each():
    gatherer, rng = PredictionGatherer(subject("cap_inspection")), np.random.default_rng(5)
    labels = len(subject("cap_inspection").labels)
    rows = rng.dirichlet(np.ones(labels), size=3 * NOTED + 7).astype(np.float32)
    for row in rows:
        gatherer.see(row[None])
    window = gatherer.window()
    unsure = [-sum(p * math.log(p) for p in row if p > 0) / math.log(labels) for row in rows.tolist()]
    assert window.rows == len(rows) == sum(window.bins)
    assert window.unsure == pytest.approx(sum(unsure))
    assert window.unsure_squares == pytest.approx(sum(one * one for one in unsure))
    assert window.classes == [int((rows.argmax(axis=1) == label).sum()) for label in range(labels)]


def test_a_row_with_a_number_that_is_not_finite_counts_for_nothing():
    gatherer = PredictionGatherer(subject("cap_inspection"))
    labels = len(subject("cap_inspection").labels)
    sure = np.eye(labels, dtype=np.float32)[:1]
    for bad in (math.nan, math.inf, -math.inf):
        gatherer.see(np.full((1, labels), bad, dtype=np.float32))
    gatherer.see(sure)
    window = gatherer.window()
    assert (window.rows, window.unsure, window.classes[0], window.bins[BINS - 1]) == (1, 0.0, 1, 1)


def test_what_was_noted_is_forgotten_with_its_window():
    gatherer = PredictionGatherer(subject("line_anomaly"))
    gatherer.see(np.array([0.5], dtype=np.float32))
    gatherer.clear()
    gatherer.see(np.array([1.0], dtype=np.float32))
    gatherer.see(np.array([math.nan], dtype=np.float32))
    window = gatherer.window()
    assert (window.rows, window.score_sum, window.classes) == (1, 0.0, [])
