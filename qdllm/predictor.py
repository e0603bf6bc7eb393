"""A trained student with its text encoder: from a text to a label and probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from qdllm import families, saved
from qdllm.encoder import Encoder


class Prediction(NamedTuple):
    """A label for each text, and probabilities_NC in the order of the predictor's classes."""

    labels: list[str]
    probabilities_NC: np.ndarray


class Predictor:
    """Loads from a folder that saved.save wrote. Holds the encoder, so make one and keep it."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where the encoder's model is missing, or not the one of training."""
        found = saved.load(folder)
        self.spec, self.classes = found.spec, found.classes
        self.encoder = Encoder(self.spec.encoder)
        parameters_SP = torch.tensor(found.parameters_P).unsqueeze(0)
        self.model = families.of(self.spec).restore(
            self.spec, found.features, len(self.classes), parameters_SP
        )

    def __call__(self, texts: Sequence[str]) -> Prediction:
        """Label any number of texts."""
        if not texts:
            return Prediction([], np.empty((0, len(self.classes)), np.float32))
        features_NH = torch.as_tensor(self.encoder(texts))
        probabilities_NC = torch.softmax(self.model.predict(features_NH)[0], -1).numpy()
        labels = [self.classes[index] for index in probabilities_NC.argmax(-1)]
        return Prediction(labels, probabilities_NC)
