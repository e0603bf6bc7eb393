"""The frozen text encoder: texts in, `features_NH` out. Also how any transformer is loaded."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from qdllm.errors import ConfigError
from qdllm.models import Model, check_length, check_type, resolve, unusable
from qdllm.specs import EncoderSpec

Counted = Callable[[int, int], None]
"""Called with the number of texts done and the number there are."""

CHARACTERS = 16
"""For each token that is read, characters of a long text that are looked at first."""
UNSETTLED = 8
"""Pieces at a text's end that another end could change."""


class Encoder:
    """A frozen transformer that gives each text H features: the chosen hidden layers, pooled.

    A text's features do not depend on the texts beside it, but for float32 round-off from
    padding: differences stay below 1e-5 of the largest feature.
    """

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        """Load the model once. Raises ConfigError if it, or a hidden layer, cannot be had."""
        self.spec, self.device = spec, device
        self._tokenizer, model = pretrained(spec.model, spec.max_length, spec.weights)
        depth = model.config.num_hidden_layers
        self._layers = spec.layers_of(depth + 1)
        self._pooling = (spec.pooling,) if isinstance(spec.pooling, str) else spec.pooling
        for stack in model.modules():
            if isinstance(stack, torch.nn.ModuleList) and len(stack) == depth:
                # One block more than is read: decoders pass the last one's output through a norm.
                del stack[max(self._layers) + 1 :]
        self._model = model.to(device).eval().requires_grad_(False)
        self.width = len(self._pooling) * len(self._layers) * model.config.hidden_size
        """H, the number of features."""
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())
        """Of the layers that are needed, all frozen."""

    def __call__(
        self, texts: Sequence[str], *, batch_size: int = 32, progress: Counted | None = None
    ) -> np.ndarray:
        """features_NH in float32, row n for text n.

        Several layers stand side by side; of several ways of pooling, each has all layers.
        """
        features_NH = np.empty((len(texts), self.width), np.float32)
        tokens = tokenize(self._tokenizer, texts, self.spec.max_length)
        # In one order, since a row's last bits depend on what shares its batch: the same texts have
        # the same features in whichever splits they come.
        order_N = np.array(sorted(range(len(tokens)), key=tokens.__getitem__), dtype=int)
        done = 0
        for rows, batch in padded(self._tokenizer, [tokens[row] for row in order_N], batch_size):
            features_NH[order_N[rows]] = self._features(batch)
            done += len(rows)
            if progress:
                progress(done, len(texts))
        return features_NH

    @torch.inference_mode()
    def _features(self, batch: dict[str, torch.Tensor]) -> np.ndarray:
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        states = self._model(**batch, output_hidden_states=True).hidden_states
        states_NTH = torch.cat([states[layer] for layer in self._layers], dim=-1)
        pooled = [POOLINGS[name](states_NTH, batch["attention_mask"]) for name in self._pooling]
        return torch.cat(pooled, dim=-1).cpu().numpy()


def encode(
    spec: EncoderSpec,
    texts: Sequence[str],
    *,
    device: str = "cpu",
    batch_size: int = 32,
    progress: Counted | None = None,
) -> np.ndarray:
    """`features_NH` of texts in one call; see `Encoder`, which keeps the model loaded."""
    return Encoder(spec, device)(texts, batch_size=batch_size, progress=progress)


def mean_pool(states_NTH: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
    """The mean over each text's own tokens, padding left out: (N, T, H) to (N, H)."""
    weights_NT1 = mask_NT.unsqueeze(-1).to(states_NTH.dtype)
    return (states_NTH * weights_NT1).sum(1) / weights_NT1.sum(1).clamp(min=1)


def max_pool(states_NTH: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
    """The largest value over each text's own tokens, padding left out: (N, T, H) to (N, H)."""
    lowest = torch.finfo(states_NTH.dtype).min
    return states_NTH.masked_fill(mask_NT.unsqueeze(-1) == 0, lowest).amax(1)


POOLINGS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": mean_pool,
    "max": max_pool,
    "first": lambda states_NTH, mask_NT: states_NTH[:, 0],
}
"""What becomes of a text's tokens, by the names that specs have."""


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids per text, unpadded, cut to `max_length`."""
    starts = [beginning(tokenizer, text, max_length) for text in texts]
    encoded = tokenizer(starts, truncation=True, max_length=max_length) if texts else {}
    # A tokenizer without special tokens gives nothing for an empty text; a model needs one token.
    return [ids or [tokenizer.pad_token_id] for ids in encoded.get("input_ids", [])]


def beginning(tokenizer: Any, text: str, max_length: int) -> str:
    """As much of a text as decides its first `max_length` tokens.

    A tokenizer goes through all that it is given, five seconds for each million characters. What
    follows a text can change only the last of its pieces, which most tokenizers take one by one; a
    text without `max_length` of them is left whole.
    """
    length = CHARACTERS * max_length
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return text
    while length < len(text):
        pieces = [piece for piece in tokenizer(text[:length]).word_ids() if piece is not None]
        if sum(piece < pieces[-1] - UNSETTLED for piece in pieces) >= max_length:
            return text[:length]
        length *= 4
    return text


def padded(
    tokenizer: Any, tokens: list[list[int]], batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """Batches of similar length, longest first: (their rows, input_ids and attention_mask)."""
    order = np.argsort([-len(ids) for ids in tokens], kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, pad([tokens[row] for row in rows], tokenizer.pad_token_id)


def pad(tokens: list[list[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask of one batch, padded on the right."""
    length = max(map(len, tokens))
    lengths_N1 = torch.tensor([[len(ids)] for ids in tokens])
    return {
        "input_ids": torch.tensor([ids + [pad_token_id] * (length - len(ids)) for ids in tokens]),
        "attention_mask": (torch.arange(length) < lengths_N1).long(),
    }


def pretrained(
    name: str,
    max_length: int,
    weights: str = "safetensors",
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, Any]:
    """Tokenizer and transformer without heads, running no code of the model's.

    `weights`: safetensors, or torch's pickle, of which only tensors are loaded.
    Raises ConfigError if the model cannot be found, fetched or read, lacks weights, or has fewer
    positions than `max_length` tokens.
    """
    with _loading(name):
        model, where = _located(name, weights)
        config = AutoConfig.from_pretrained(**where)
        if "/" in str(config._attn_implementation):
            raise ValueError(f"its config asks for the kernel {config._attn_implementation}")
        check_type(name, config.to_dict())
        if not all(hasattr(config, key) for key in ("hidden_size", "num_hidden_layers")):
            raise ConfigError(
                f"model {name!r} is of type {config.model_type}, whose config does not tell its "
                "width and layers, as one of texts alone does; give such a one"
            )
        config.use_cache = False
        for key, value in config.to_dict().items():
            if "drop" in key and isinstance(value, float):
                # Frozen layers are not regularised by noise; LoRA has a dropout of its own.
                setattr(config, key, 0.0)
        tokenizer = _tokenizer(model, where)
        transformer, report = AutoModel.from_pretrained(
            **where,
            config=config,
            dtype=dtype,
            use_safetensors=weights == "safetensors",
            weights_only=True,
            ignore_mismatched_sizes=True,  # refused below, by a message of our own
            output_loading_info=True,
        )
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing or report["mismatched_keys"]:
        raise ConfigError(
            f"model {name!r}: its weights lack {', '.join(missing) or 'the shapes of its config'}; "
            "give a complete model"
        )
    if getattr(transformer, "_hf_peft_config_loaded", False):
        raise ConfigError(f"model {name!r} comes with an adapter; give it merged into its weights")
    most = getattr(config, "max_position_embeddings", None) or 0
    if most > 0:
        check_length(name, most - unusable(config.to_dict()), max_length)
    _within(name, tokenizer, getattr(config, "vocab_size", None))
    return tokenizer, transformer


def _within(name: str, tokenizer: Any, words: int | None) -> None:
    """Have texts filled by a token that the model has; one added to the tokenizer alone is not."""
    if words is None or tokenizer.pad_token_id < words:
        return
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= words:
        raise ConfigError(
            f"model {name!r} has {words:,} tokens, and its tokenizer's padding token is number "
            f"{tokenizer.pad_token_id:,}; resize the model (resize_token_embeddings), and save it"
        )
    tokenizer.pad_token = tokenizer.eos_token


def pretrained_tokenizer(name: str, weights: str = "safetensors") -> Any:
    """A model's tokenizer alone. Raises ConfigError as `pretrained` does."""
    with _loading(name):
        return _tokenizer(*_located(name, weights))


def _located(name: str, weights: str) -> tuple[Model, dict[str, Any]]:
    """A model, and where transformers finds it."""
    model = resolve(name, weights)
    # Where nothing is said of a model's own code, transformers asks whoever sits at the terminal.
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": model.path_or_id,
        "trust_remote_code": False,
    }
    if model.revision is not None:
        where["revision"] = model.revision
    return model, where


def _tokenizer(model: Model, where: Mapping[str, Any]) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(**where, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = model.pad_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ConfigError(
            f"model {model.name!r}: its tokenizer has neither a padding nor an end token"
        )
    if tokenizer.vocab_size <= len(tokenizer.all_special_ids):
        # transformers makes one up where its files are missing, and every text reads alike.
        raise ConfigError(
            f"model {model.name!r}: its tokenizer knows no words; put its files beside the model "
            "(tokenizer.save_pretrained), as tokenizer.json is"
        )
    return tokenizer


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """While a model is loaded, what stands in the way of it is a ConfigError."""
    try:
        with _quiet():
            yield
    except UnpicklingError:
        raise ConfigError(
            f"model {name!r} cannot be loaded: its weights hold more than tensors, which could be "
            "code. Give one with safetensors weights"
        ) from None
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if "memory" in str(error).lower():
            raise  # which there may be another time
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"model {name!r} cannot be loaded: {reason} {_remedy(reason)}") from None


def _remedy(reason: str) -> str:
    """What to do about a model that transformers could not load, by what it said."""
    if "gated" in reason:
        return "Accept its licence on the hub, and set HF_TOKEN to a token of yours"
    if "custom code" in reason or "kernel" in reason:
        return "No code of a model's is run: give one that transformers itself can compute"
    if "safetensors" in reason:
        return (
            "Give a model with safetensors weights, or allow torch's own with weights: torch, "
            "of which only tensors are loaded"
        )
    return "Without a network, give a local folder with safetensors weights, or 'minilm'"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and notes off the terminal; what matters in them is raised."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
