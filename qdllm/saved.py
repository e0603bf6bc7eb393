"""A trained student as a folder of files, from which a Predictor can be made wherever it goes."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qdllm import families, outside
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.models import resolve
from qdllm.spec import Spec
from qdllm.specs import TrialSpec
from qdllm.tfidf import Tfidf

DESCRIPTION, PARAMETERS, ENCODER = "student.json", "student.safetensors", "encoder"


class Description(Spec):
    """What `student.json` says: the trial's spec, its classes, how many features it reads."""

    spec: dict[str, Any]
    classes: tuple[str, ...] = Field(min_length=2)
    features: int = Field(ge=1, le=2**24)
    encoder_digest: str


class Saved(NamedTuple):
    """What the folder holds; `spec` names the encoder as it is found here."""

    spec: TrialSpec
    classes: list[str]
    features: int
    parameters_P: np.ndarray


def save(
    folder: Path,
    spec: TrialSpec,
    classes: Sequence[str],
    features: int,
    parameters_P: np.ndarray,
    fitted: Tfidf | None = None,
) -> None:
    """Write one student.

    An encoder that is a folder is copied; one with a name is found again by that name; one that was
    `fitted` to the training texts is written beside the student.
    """
    encoder = spec.encoder.model
    if fitted:
        fitted.save(folder / ENCODER)
        encoder = str(folder / ENCODER)
    elif Path(encoder).is_dir():
        shutil.copytree(encoder, folder / ENCODER)
    description = {
        "spec": spec.model_dump(mode="json"),
        "classes": list(classes),
        "features": features,
        "encoder_digest": resolve(encoder, spec.encoder.weights).digest,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")
    save_file({"parameters": np.ascontiguousarray(parameters_P)}, folder / PARAMETERS)


def load(folder: Path) -> Saved:
    """Read what `save` wrote.

    Raises ConfigError where a file is missing or not as it was written, and where the encoder's
    model is missing or not the one of training.
    """
    plain = outside.parsed(outside.text(folder / DESCRIPTION))
    if not isinstance(plain, dict):
        raise ConfigError(
            f"{folder / DESCRIPTION} must hold an object, but {shown(plain)} is there"
        )
    description = Description.parse(plain)
    spec = families.parse(description.spec)
    if (folder / ENCODER).is_dir():
        encoder = spec.encoder.model_copy(update={"model": str(folder / ENCODER)})
        spec = spec.model_copy(update={"encoder": encoder})
    model = resolve(spec.encoder.model, spec.encoder.weights)
    if model.digest != description.encoder_digest:
        raise ConfigError(
            f"this student was trained on the features of {model.name!r} with digest "
            f"{description.encoder_digest[:12]}, but here that model has "
            f"{model.digest[:12]}; install the version named in the model's requirements"
        )
    try:
        parameters_P = load_file(folder / PARAMETERS)["parameters"]
    except (OSError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{folder / PARAMETERS} is not what was saved: {error}") from None
    return Saved(spec, list(description.classes), description.features, parameters_P)
