"""A trained student as a folder of files, from which a Predictor can be made wherever it goes."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from qdllm import families
from qdllm.errors import ConfigError
from qdllm.models import resolve
from qdllm.specs import TrialSpec

DESCRIPTION, PARAMETERS, ENCODER = "student.json", "student.safetensors", "encoder"


class Saved(NamedTuple):
    """What the folder holds; `spec` names the encoder as it is found here."""

    spec: TrialSpec
    classes: list[str]
    features: int
    parameters_P: np.ndarray


def save(
    folder: Path, spec: TrialSpec, classes: Sequence[str], features: int, parameters_P: np.ndarray
) -> None:
    """Write one student.

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
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")
    save_file({"parameters": np.ascontiguousarray(parameters_P)}, folder / PARAMETERS)


def load(folder: Path) -> Saved:
    """Read what `save` wrote.

    Raises ConfigError where the encoder's model is missing, or not the one of training.
    """
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    spec = families.parse(description["spec"])
    if (folder / ENCODER).is_dir():
        encoder = spec.encoder.model_copy(update={"model": str(folder / ENCODER)})
        spec = spec.model_copy(update={"encoder": encoder})
    model = resolve(spec.encoder.model, spec.encoder.weights)
    if model.digest != description["encoder_digest"]:
        raise ConfigError(
            f"this student was trained on the features of {model.name!r} with digest "
            f"{description['encoder_digest'][:12]}, but here that model has "
            f"{model.digest[:12]}; install the version named in the model's requirements"
        )
    parameters_P = load_file(folder / PARAMETERS)["parameters"]
    return Saved(spec, description["classes"], description["features"], parameters_P)
