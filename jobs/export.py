"""A trained student as files that any program for quantum computers reads."""

import csv
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from jobs.kinds.features import FEATURES
from jobs.store import Store
from jobs.students import trained, widths
from qdllm import outside
from qdllm.circuits.circuit import observables, told
from qdllm.circuits.export import template
from qdllm.circuits.settings import settings
from qdllm.errors import ConfigError
from qdllm.families.quantum import FAMILY

README = Path(__file__).with_suffix(".md")


def export(store: Store, fingerprint: str, folder: Path) -> list[str]:
    """Write a student's best seed by validation into a new folder. Returns the files' paths.

    Raises ConfigError for a folder with something in it, StoreError for a damaged result.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--export {folder}: there is something already; give a new folder")
    record = store.record(FAMILY.kind, fingerprint)
    assert record is not None, "the caller has found it"
    found = trained(store, fingerprint, *widths(store, record))
    at, spec = found.best_seed, found.spec
    student = found.under()
    _, features = store.load(FEATURES.name, record.made_from[FEATURES.role])
    angles_NA = found.angles(torch.from_numpy(features["test"]).float())[at].double().numpy()
    outside.folder(folder)
    weights_W = student.weights[at].tolist()
    every = settings(found.circuit, observables(spec.circuit))
    for number, setting in enumerate(every):
        name = f"circuit{_numbered(number, len(every))}"
        two, three = (template(setting.circuit, weights_W, version) for version in (2, 3))
        (folder / f"{name}.qasm").write_text(two.text, encoding="utf-8")
        (folder / f"{name}.qasm3").write_text(three.text, encoding="utf-8")
    with (folder / "angles.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(two.names)
        writer.writerows(np.round(two.points(angles_NA), 13).tolist())
    parts = ("linear", "linear_bias", "weights", "head", "head_bias")
    save_file(
        {name: np.ascontiguousarray(getattr(student, name)[at].detach().numpy()) for name in parts},
        folder / "student.safetensors",
    )
    described = {
        "student": fingerprint,
        "seed": spec.seeds[at],
        "observables": list(observables(spec.circuit)),
        "settings": [{"observables": s.observables, "qubits": _qubits(s.masks)} for s in every],
        "bits": "c[i] is qubit i; in a string of bits as devices write them, it is the last but i",
        "angles": spec.angles,
        "encoder": spec.encoder.model_dump(mode="json"),
        "task": spec.task.model_dump(mode="json"),
    }
    (folder / "student.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    text = README.read_text(encoding="utf-8").format(
        told=told(spec.circuit),
        seed=spec.seeds[at],
        fingerprint=fingerprint,
        accuracy=record.summary["metrics"]["test.accuracy"][at],
        first=_numbered(0, len(every)),
        angles=len(two.names),
        minmax=", stretched to [0, 10] by their own minimum and maximum"
        if spec.angles == "minmax"
        else "",
        several=""
        if len(every) == 1
        else f"The observables need {len(every)} settings, a circuit for each.\n\n",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return [str(path) for path in sorted(folder.iterdir())]


def _numbered(number: int, of: int) -> str:
    return f"-{number}" if of > 1 else ""


def _qubits(masks: tuple[int, ...]) -> list[list[int]]:
    """Of each parity its qubits."""
    return [[q for q in range(mask.bit_length()) if mask >> q & 1] for mask in masks]
