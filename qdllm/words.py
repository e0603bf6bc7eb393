"""Logistic regression on the texts' own TF-IDF weights: what every encoder has to beat."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from qdllm.texts.data import Split
from qdllm.tfidf import counted, weights

STRENGTHS = (1.0, 3.0, 10.0, 30.0)
"""Inverse regularisation strengths, among which the validation split chooses."""


class Words(NamedTuple):
    """A fitted model."""

    counters: Sequence[Any]
    model: Any
    """scikit-learn's; None where the training texts have no word in common."""
    strength: float
    classes: int

    @property
    def parameters(self) -> int:
        """How many numbers were fitted: weights and a bias for each class, or for one of two."""
        return int(self.model.coef_.size + self.model.intercept_.size) if self.model else 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """logits_NC."""
        if self.model is None:
            return np.zeros((len(texts), self.classes))
        logits = self.model.decision_function(weights(self.counters, texts))
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        return np.asarray(logits, np.float64)


def fit(train: Split, validation: Split) -> Words:
    """Fit one for each strength, and keep the one that validates best; of equals the simplest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    counters, weights_NT = counted(train.texts)
    best, most = Words(counters, None, 0.0, 1 + int(train.labels_N.max())), -1.0
    for strength in STRENGTHS if counters else ():
        model = LogisticRegression(C=strength, max_iter=300)
        with warnings.catch_warnings():
            # A fit that stops early is a candidate like the others: validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(weights_NT, train.labels_N)
        found = best._replace(model=model, strength=strength)
        accuracy = float((found(validation.texts).argmax(1) == validation.labels_N).mean())
        if accuracy > most:
            best, most = found, accuracy
    return best
