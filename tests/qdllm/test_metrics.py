"""Measures against scikit-learn, intervals against scipy's own."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from qdllm.intervals import interval, share
from qdllm.metrics import classification


def test_measures_equal_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, 4, generator=generator)
    logits[2, :, 3] = -100  # a class that is never predicted
    labels = torch.randint(0, 4, (50,), generator=generator)
    teacher = torch.randn(50, 4, generator=generator)
    measured = classification(logits, labels, teacher)
    for student, predicted in enumerate(logits.argmax(-1)):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, average="macro", zero_division=0
        )
        expected = {
            "accuracy": accuracy_score(labels, predicted),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "agreement": accuracy_score(teacher.argmax(-1), predicted),
        }
        for name, value in expected.items():
            assert measured[name][student].item() == pytest.approx(value, abs=1e-12), name


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    certain = torch.tensor([[[100.0, 0.0]] * 4])  # always sure of class 0, right in one of four
    labels = torch.tensor([0, 1, 1, 1])
    error = classification(certain, labels, certain[0])["calibration_error"]
    assert error.item() == pytest.approx(0.75)
    hesitant = torch.zeros(1, 4, 2)  # always one half, right in two of four
    error = classification(hesitant, torch.tensor([0, 0, 1, 1]), certain[0])["calibration_error"]
    assert error.item() == pytest.approx(0.0)


def test_the_interval_is_students_t():
    values = [0.81, 0.84, 0.80, 0.83, 0.82]
    found = interval(values)
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
    )
    assert found.mean - found.ci95 == pytest.approx(low)
    assert found.mean + found.ci95 == pytest.approx(high)
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert found.standard_error == pytest.approx(scipy.stats.sem(values))
    assert found.n == 5


def test_one_seed_has_no_spread():
    found = interval([0.8])
    assert found.mean == 0.8
    assert np.isnan(found.std)
    assert np.isnan(found.ci95)


def test_a_shares_interval_is_wilsons():
    # Agresti and Coull (1998): 0 of 10 and 9 of 10.
    assert share(0, 10) == (pytest.approx(0, abs=1e-12), pytest.approx(0.2775, abs=1e-4))
    assert share(9, 10) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))
    assert share(9, 10, 0.99)[0] < share(9, 10)[0]
