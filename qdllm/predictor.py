"""A trained student with its text encoder: from a text to a label and probabilities."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qdllm.encoder import Encoder
from qdllm.errors import ConfigError
from qdllm.fit import predict
from qdllm.models import resolve
from qdllm.specs import StudentSpec
from qdllm.student import restore

ENCODER = "encoder"


class Prediction(NamedTuple):
    """A label for each text, and probabilities_NC in the order of the predictor's classes."""

    labels: list[str]
    probabilities_NC: np.ndarray


class Predictor:
    """Loads from a folder that `save` wrote. Holds the encoder, so make one and keep it."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where the encoder's model is missing, or not the one of training."""
        description = json.loads((folder / "student.json").read_text(encoding="utf-8"))
        self.spec = StudentSpec.parse(description["spec"])
        if (folder / ENCODER).is_dir():
            encoder = self.spec.encoder.model_copy(update={"model": str(folder / ENCODER)})
            self.spec = self.spec.model_copy(update={"encoder": encoder})
        model = resolve(self.spec.encoder.model, self.spec.encoder.weights)
        if model.digest != description["encoder_digest"]:
            raise ConfigError(
                f"this student was trained on the features of {model.name!r} with digest "
                f"{description['encoder_digest'][:12]}, but here that model has "
                f"{model.digest[:12]}; install the version named in the model's requirements"
            )
        self.classes: list[str] = description["classes"]
        self.encoder = Encoder(self.spec.encoder)
        parameters_SP = load_file(folder / "student.safetensors")["parameters"]
        self.student = restore(self.spec, description["features"], len(self.classes), parameters_SP)

    def __call__(self, texts: Sequence[str]) -> Prediction:
        """Label any number of texts."""
        if not texts:
            return Prediction([], np.empty((0, len(self.classes)), np.float32))
        features_NH = torch.as_tensor(self.encoder(texts))
        probabilities_NC = torch.softmax(predict(self.student, features_NH)[0], -1).numpy()
        labels = [self.classes[index] for index in probabilities_NC.argmax(-1)]
        return Prediction(labels, probabilities_NC)


def save(
    folder: Path, spec: StudentSpec, classes: Sequence[str], features: int, parameters_P: np.ndarray
) -> None:
    """Write one student, so that a Predictor can be made from the folder, wherever it goes.

    An encoder that is a folder is copied; one with a name is found again by that name.
    """
    if Path(spec.encoder.model).is_dir():
        shutil.copytree(spec.encoder.model, folder / ENCODER)
    description = {
        "spec": spec.model_dump(mode="json"),
        "classes": list(classes),
        "features": features,
        "encoder_digest": resolve(spec.encoder.model, spec.encoder.weights).digest,
    }
    (folder / "student.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
    save_file(
        {"parameters": torch.tensor(parameters_P).unsqueeze(0)}, folder / "student.safetensors"
    )
