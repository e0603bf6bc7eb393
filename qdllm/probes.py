"""Classical references on the same frozen features: what the circuit has to beat."""

import warnings
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qdllm.fit import Examples

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths, among which the validation split chooses."""


def logistic_regression(train: Examples, validation: Examples, test: Examples) -> dict[str, Any]:
    """A linear probe on standardised features and hard labels.

    Returns: its accuracies as `val.accuracy` and `test.accuracy`, its `parameters` count, and the
    inverse regularisation strength `C` that the validation split chose.
    """
    best: dict[str, Any] = {"val.accuracy": -1.0}
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
        with warnings.catch_warnings():
            # A fit that stops early is a candidate like the others: validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train.features_NH.numpy(), train.labels_N.numpy())
        accuracy = model.score(validation.features_NH.numpy(), validation.labels_N.numpy())
        if accuracy > best["val.accuracy"]:
            coefficients = model[-1]
            best = {
                "val.accuracy": accuracy,
                "test.accuracy": model.score(test.features_NH.numpy(), test.labels_N.numpy()),
                "parameters": coefficients.coef_.size + coefficients.intercept_.size,
                "C": strength,
            }
    return best


def classical_width(parameters: int, features: int, classes: int) -> int:
    """Hidden units of the largest tanh network with at most that many parameters, at least one."""
    return max((parameters - classes) // (features + 1 + classes), 1)
