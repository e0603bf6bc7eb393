"""What families read, small and made up: features, or tokens of a tiny model, and its teacher."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import tiny_models
import torch

from qdllm import teacher
from qdllm.families import Family
from qdllm.fit import Examples
from qdllm.specs import TaskSpec, TrialSpec

FOLDER = tempfile.TemporaryDirectory(prefix="tiny-bert-")
LENGTH = 6
BODY = {"layers": [1], "start": "base"}
OWN = {
    "tinybert": {
        "body": {"layers": [0], "start": "pca", "width": 8, "intermediate": 12},
        "terms": {"transformer_epochs": 1},
    },
    "pkd": {"terms": {"pairs": [[1, 2], [0, 0]]}},
    "hitin": {"body": {"layers": [0, 1]}, "tree": {"width": 16, "dropout": 0.0}},
    "lsfls": {"body": {"layers": [0, 1]}, "few": {"labelled": 12, "rounds": 1, "share": 0.5}},
    "textrcnn": {"words": {"context": 4, "hidden": 8}},
}
"""What a family's own settings are, where a single layer of a tiny model would not do."""


@cache
def tiny() -> str:
    """The folder of a BERT of two layers, sixteen wide, for as long as the process lives."""
    return tiny_models.save("bert", FOLDER.name)


def settings(family: Family[Any]) -> dict[str, Any]:
    """Settings with which a family that reads tokens trains in no time; of others none."""
    if not family.long:
        return {}
    tuned = {"epochs": 2, "batch_size": 16, "lr": 0.03, "dropout": 0.1}
    found = {
        "encoder": {"model": tiny(), "max_length": 16},
        "teacher": {"model": tiny(), "max_length": 16, "rank": 2},
        "body": BODY,
        "tuning": tuned,
        "training": tuned,
        "seeds": [4, 0],
    } | OWN.get(family.name, {})
    return {key: value for key, value in found.items() if key in family.spec.model_fields}


def task(folder: Path, wrong: int = 0) -> TaskSpec:
    """Sixty texts whose class is what they begin with; of `wrong` texts one has another label."""
    first = ("market price", "team game", "star planet")
    rows = [
        f'"{first[row % 3]} {text} {row}","{"abc"[(row + (wrong > 0 and row % wrong == 0)) % 3]}"'
        for row, text in enumerate(tiny_models.texts_of(60))
    ]
    path = folder / "words.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return TaskSpec(name=str(path))


def tokens(labels_N: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Texts of two to four words, most of them their class's own; −1 after a text's end."""
    ids_NT = torch.full((len(labels_N), LENGTH), -1, dtype=torch.int64)
    for row, label in enumerate(labels_N.tolist()):
        words = 2 + int(torch.randint(3, (), generator=generator))
        own = 4 + 6 * label + torch.randint(5, (words,), generator=generator)
        ids_NT[row, : words + 2] = torch.cat([torch.tensor([2]), own, torch.tensor([3])])
    return ids_NT


def more(family: Family[Any], spec: TrialSpec, rows: int, classes: int) -> dict[str, torch.Tensor]:
    """What else that spec's trials read of the training split: adapter and pooled states."""
    found: dict[str, torch.Tensor] = {}
    sources = family.sources(spec)
    if "adapter" in sources:
        adapter = teacher.adapter_of(teacher.build(spec.teacher, classes)[1])
        found |= {f"adapter.{name}": tensor.detach() for name, tensor in adapter.items()}
    if "teacher_states" in sources:
        width = len(spec.teacher_layers) * tiny_models.HIDDEN
        found["states"] = torch.randn(rows, width, generator=torch.Generator().manual_seed(5))
    return found


def separable(family: Family[Any], spec: TrialSpec, classes: int, rows: int, seed: int) -> Examples:
    """Tokens that tell their class; a teacher who is right and nearly sure, if one is read."""
    labels_N = torch.arange(rows) % classes
    taught = "soft_labels" in family.reads
    return Examples(
        tokens(labels_N, torch.Generator().manual_seed(seed)),
        4 * torch.eye(classes)[labels_N] if taught else None,
        labels_N,
        more(family, spec, rows, classes) or None,
    )
