"""Features without a pretrained model: TF-IDF of words and characters, and its main directions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.models import FITTED_FILE

BLOCKS: Mapping[str, tuple[int, int]] = {"word": (1, 2), "char_wb": (2, 5)}
"""What is counted, as scikit-learn names it: words and pairs of them, and two to five characters
within a word."""
TERMS = 2**14
"""The most frequent ones that are kept of each block, so that a fitted encoder stays small."""
FEWEST = 2
"""Training texts that a term must stand in."""
ITERATIONS = 2
"""Of the randomised SVD (Halko, Martinsson and Tropp, arXiv 0909.4061)."""


class Tfidf:
    """What was fitted to a training split, and gives any text H features.

    A term's weight is 1 + log of its count, times its idf; each block is scaled to length 1. The
    weights are projected on the H directions in which those of the training texts are largest, and
    scaled so that the mean square of a training text's features is 1.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        """From its `tensors`: `directions` (T, H), `idf` (T,) and `terms`, a list of T terms for
        each block as UTF-8 JSON.
        """
        self.tensors = {name: tensors[name] for name in ("terms", "idf", "directions")}
        terms = outside.parsed(self.tensors["terms"].tobytes().decode())
        ends = np.cumsum([len(terms[block]) for block in BLOCKS])
        idfs = np.split(self.tensors["idf"], ends[:-1])
        self._counters = []
        for block, idf in zip(BLOCKS, idfs, strict=True):
            if len(idf):
                counter = _counter(block, vocabulary=terms[block])
                counter.idf_ = idf
                self._counters.append(counter)
        self._directions_TH = self.tensors["directions"].astype(np.float32)
        self.width = self._directions_TH.shape[1]
        """H, the number of features."""

    @classmethod
    def fit(cls, texts: Sequence[str], width: int) -> Self:
        """Fit to training texts, the same to the bit each time on one kind of machine.

        Raises ConfigError where there are no more texts, or terms in common, than `width`.
        """
        from sklearn.utils.extmath import randomized_svd
        from threadpoolctl import threadpool_limits

        counters, weights_NT = counted(texts, TERMS)
        shared = weights_NT.shape[1]
        most = min(len(texts), shared) - 1
        if width > most:
            raise ConfigError(
                f"encoder.components={width} is more than the {len(texts):,} training texts and "
                f"the {shared:,} words and pieces of words that they share "
                f"give: --set encoder.components={max(most, 1)} is the most; or give more texts"
            )
        terms: dict[str, list[str]] = {block: [] for block in BLOCKS}
        terms |= {one.analyzer: one.get_feature_names_out().tolist() for one in counters}
        with threadpool_limits(1):  # another number of threads sums in another order
            _, _, directions_HT = randomized_svd(
                weights_NT, width, n_iter=ITERATIONS, random_state=0
            )
        square = np.square(weights_NT @ directions_HT.T).mean()
        return cls(
            {
                "terms": np.frombuffer(json.dumps(terms).encode(), np.uint8),
                "idf": np.concatenate([one.idf_ for one in counters]).astype(np.float64),
                # In half the space. What is trained on is computed from these, as what is served.
                "directions": (directions_HT.T / np.sqrt(square)).astype(np.float16),
            }
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """features_NH in float32, row n for text n, the same whatever texts stand beside it."""
        if not texts:
            return np.empty((0, self.width), np.float32)
        features_NH: np.ndarray = weights(self._counters, texts) @ self._directions_TH
        return features_NH

    def save(self, folder: Path) -> None:
        """Write it as plain data into a new folder."""
        folder.mkdir()
        save_file(self.tensors, folder / FITTED_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ConfigError where it is not as it was written."""
        try:
            return cls(load_file(folder / FITTED_FILE))
        except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"{folder / FITTED_FILE} is not what was saved: {error}") from None


def counted(texts: Sequence[str], most: int | None = None) -> tuple[list[Any], Any]:
    """Counters fitted to texts, of each block with terms in common, and the texts' weights_NT.

    `most`: the terms that are kept of a block; None: all that stand in two texts.
    """
    from scipy.sparse import csr_array, hstack

    counters, blocks = [], [csr_array((len(texts), 0), dtype=np.float32)]
    for block in BLOCKS:
        counter = _counter(block, min_df=FEWEST, max_features=most)
        try:
            blocks.append(counter.fit_transform(texts))
        except ValueError:  # scikit-learn's, where no term stands in two texts
            continue
        counters.append(counter)
    return counters, hstack(blocks, format="csr")


def weights(counters: Sequence[Any], texts: Sequence[str]) -> Any:
    """weights_NT of other texts, a sparse matrix."""
    from scipy.sparse import hstack

    return hstack([one.transform(texts) for one in counters], format="csr")


def _counter(block: str, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=block,
        ngram_range=BLOCKS[block],
        sublinear_tf=True,
        dtype=np.float32,
        **settings,
    )
