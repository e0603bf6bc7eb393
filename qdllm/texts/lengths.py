"""How much of the texts a model reads: what is longer than its `max_length` is cut.

Counted with the model's own tokenizer where its file is at hand, without torch or transformers;
else in words, of which there are no more than tokens.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qdllm.models import Model, beside

SAMPLE = 1000
"""Texts that are counted; of more, so many are drawn."""
HEAD = 64
"""Characters for each token that is read, beyond which a text's tokens are reckoned from those."""


@dataclass(frozen=True)
class Cut:
    """What of some texts is not read."""

    texts: int
    """How many are longer than what is read."""
    of: int
    lost: float
    """The share of their tokens that is not read."""
    reckoned: bool
    """Whether only some texts were counted, or words in place of tokens."""
    most: int | None
    """How many tokens the model can read, if it says so."""

    def plain(self) -> dict[str, Any]:
        """As plain data, for a record."""
        return asdict(self)


def cut(texts: Sequence[str], model: Model, max_length: int) -> Cut:
    """What of the texts lies beyond `max_length` tokens, the special ones among them."""
    # No tokenizer makes more tokens of a text than it has bytes, but for a few special ones.
    long = [text for text in texts if len(text) * (1 if text.isascii() else 4) > max_length - 4]
    sampled = len(long) > SAMPLE
    if sampled:
        chosen = np.random.Generator(np.random.PCG64(0)).choice(len(long), SAMPLE, replace=False)
    count, exact = _counter(model) if long else (len, True)
    head, counts = HEAD * max_length, []
    for text in [long[at] for at in chosen] if sampled else long:
        tokens = count(text[:head])
        counts.append(tokens * len(text) / head if len(text) > head else tokens)
    beyond = [tokens for tokens in counts if tokens > max_length]
    found = min(len(long), round(len(beyond) * len(long) / max(1, len(counts))))
    lost = 1 - max_length * len(beyond) / sum(beyond) if beyond else 0.0
    return Cut(found, len(texts), lost, sampled or not exact, _most(model))


def _counter(model: Model) -> tuple[Callable[[str], int], bool]:
    """What counts a text's tokens, and whether it does so exactly."""
    if file := beside(model, "tokenizer.json"):
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception:  # it raises nothing narrower; what cannot be read is told when it is used
            return _words, False
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda text: len(tokenizer.encode(text).ids), True
    return _words, False


def _words(text: str) -> int:
    return len(text.split())


def _most(model: Model) -> int | None:
    if file := beside(model, "config.json"):
        try:
            most = json.loads(file.read_bytes()).get("max_position_embeddings")
        except (OSError, ValueError, AttributeError):
            return None
        return most if isinstance(most, int) else None
    return None
