"""A trained student with its text encoder: from a text to a label and probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from qdllm import families, saved

ROWS = 1024
"""Texts that are in memory as features at a time."""


class Prediction(NamedTuple):
    """A label for each text, and probabilities_NC in the order of the predictor's classes.

    Where there is no text, the label is None, and the probabilities are not numbers.
    """

    labels: list[str | None]
    probabilities_NC: np.ndarray


class Predictor:
    """Loads from a folder that saved.save wrote. Holds its models, so make one and keep it."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where the encoder's model is missing, or not the one of training."""
        found = saved.load(folder)
        self.spec, self.classes = found.spec, found.classes
        family = families.of(self.spec)
        self.read = family.reader(self.spec)
        parameters_SP = torch.tensor(found.parameters_P).unsqueeze(0)
        self.model = family.restore(self.spec, found.features, len(self.classes), parameters_SP)

    def __call__(self, texts: Sequence[str | None]) -> Prediction:
        """Label any number of texts; None and what is blank are none."""
        probabilities_NC = np.full((len(texts), len(self.classes)), np.nan, np.float32)
        there = [row for row, text in enumerate(texts) if text and text.strip()]
        for start in range(0, len(there), ROWS):
            rows = there[start : start + ROWS]
            # As a data set's texts are stripped before a model is trained on them.
            read_NH = self.read([_whole(str(texts[row])).strip() for row in rows])
            logits_NC = self.model.predict(read_NH)[0]
            probabilities_NC[rows] = torch.softmax(logits_NC, -1).numpy()
        labels: list[str | None] = [None] * len(texts)
        for row in there:
            labels[row] = self.classes[probabilities_NC[row].argmax()]
        return Prediction(labels, probabilities_NC)


def _whole(text: str) -> str:
    """Halves of a character, as JSON that was cut has them, joined if they are one, or else �."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
