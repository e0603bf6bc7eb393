"""Texts as token ids: what rivals read."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from qdllm.encoder import pretrained_tokenizer, tokenize
from qdllm.specs import EncoderSpec

END = -1
"""Stands after a text's last token."""


def ids(tokenizer: object, texts: Sequence[str], max_length: int) -> np.ndarray:
    """ids_NT in int32, as long as the longest text, with −1 after each text's end."""
    tokens = tokenize(tokenizer, texts, max_length)
    ids_NT = np.full((len(tokens), max(map(len, tokens), default=1)), END, np.int32)
    for row, own in enumerate(tokens):
        ids_NT[row, : len(own)] = own
    return ids_NT


def reader(encoder: EncoderSpec) -> Callable[[Sequence[str]], Tensor]:
    """What makes token ids of texts. Raises ConfigError where the tokenizer cannot be had."""
    tokenizer = pretrained_tokenizer(encoder.model, encoder.weights)
    return lambda texts: torch.from_numpy(ids(tokenizer, texts, encoder.max_length))
