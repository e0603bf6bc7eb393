"""Sample corpora made on the spot, so that the main job runs where there is nothing to download.

`sample-thematic` (four topics) and `sample-emotion` (two feelings) are drawn from the rules of
`qdllm.texts.grammar`, which put words of the wrong class into most texts; the labels of one text in
twenty are then shuffled among themselves, so that nothing can reach 100 %. `sample-hiding` is text
steganography: an n-gram model learns everyday messages from the grammar, cover texts are sampled
from it, and in stego texts random bits choose among its most likely next words.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

import numpy as np

from qdllm.errors import ConfigError, nearest
from qdllm.texts.grammar import CHATTER, EMOTION, THEMATIC

CLASSES = {
    "sample-emotion": ("negative", "positive"),
    "sample-hiding": ("cover", "stego"),
    "sample-thematic": ("business", "sci", "sport", "world"),
}
SIZE = 1200
SHUFFLED_LABELS = 60
MESSAGES = 4000
ORDER = 2
BITS_PER_WORD = 3
WORDS = range(9, 25)
END = ""

Rules = Mapping[str, tuple[str, ...]]
Candidates = list[tuple[str, int]]
Model = dict[tuple[str, ...], Candidates]


def generate(name: str, seed: int = 0) -> tuple[tuple[str, ...], list[str], list[int]]:
    """Classes, texts and labels of one sample corpus: SIZE texts, the same number of each class.

    The same name and seed give the same texts on every machine. Raises ConfigError for an
    unknown name.
    """
    if name not in CLASSES:
        known = sorted(CLASSES)
        hint = nearest(name, known)
        raise ConfigError(f"unknown sample corpus {name!r}{hint}. There are: {', '.join(known)}")
    classes = CLASSES[name]
    rng = np.random.Generator(np.random.PCG64(seed))
    draws = _uniform(rng)
    labels_N = np.repeat(np.arange(len(classes)), SIZE // len(classes))
    if name == "sample-hiding":
        model = ngrams(_messages(draws))
        choices = (sampled(draws), coded(int(2 * draw) for draw in draws))
        texts = [_of_length(WORDS, model, choices[label]) for label in labels_N]
    else:
        rules = _parse(EMOTION if name == "sample-emotion" else THEMATIC)
        texts = [
            _punctuate(_expand(rules, "text", classes, classes[label], draws)) for label in labels_N
        ]
        some = rng.permutation(SIZE)[:SHUFFLED_LABELS]
        labels_N[some] = rng.permutation(labels_N[some])
    return classes, texts, labels_N.tolist()


def ngrams(messages: Iterable[str]) -> Model:
    """For each context of up to ORDER words, the words that followed it and how often.

    The most frequent word comes first. A message begins in the empty context and closes with END.
    """
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for message in messages:
        context: tuple[str, ...] = ()
        for word in [*message.split(), END]:
            counts.setdefault(context, Counter())[word] += 1
            context = (*context, word)[-ORDER:]
    return {
        context: sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        for context, seen in counts.items()
    }


def write(model: Model, choose: Callable[[Candidates], str], longest: int) -> str:
    """One message: from the empty context, word by word, until `choose` takes END.

    A message that would pass `longest` words is cut there.
    """
    context: tuple[str, ...] = ()
    words: list[str] = []
    while len(words) < longest and (word := choose(model[context])) != END:
        words.append(word)
        context = (*context, word)[-ORDER:]
    return " ".join(words)


def sampled(draws: Iterator[float]) -> Callable[[Candidates], str]:
    """Choose a cover text's words with the model's own probabilities; `draws` lie in [0, 1)."""

    def choose(candidates: Candidates) -> str:
        totals = list(accumulate(count for _, count in candidates))
        return candidates[bisect_right(totals, next(draws) * totals[-1])][0]

    return choose


def coded(bits: Iterator[int]) -> Callable[[Candidates], str]:
    """Choose a stego text's words by hidden bits, in a code of fixed length.

    `bits_carried` bits pick one of that many most likely words, so a reader who has the model gets
    them back. All of those words come equally often, and that is what gives a stego text away.
    """

    def choose(candidates: Candidates) -> str:
        index = 0
        for _ in range(bits_carried(candidates)):
            index = 2 * index + next(bits)
        return candidates[index][0]

    return choose


def bits_carried(candidates: Candidates) -> int:
    """How many bits a choice among these next words hides: at most BITS_PER_WORD."""
    return min(BITS_PER_WORD, len(candidates).bit_length() - 1)


def _of_length(lengths: range, model: Model, choose: Callable[[Candidates], str]) -> str:
    while True:
        text = write(model, choose, longest=lengths.stop)
        if text.count(" ") + 1 in lengths:
            return text


def _messages(draws: Iterator[float]) -> Iterator[str]:
    rules, feelings = _parse(CHATTER), CLASSES["sample-emotion"]
    for _ in range(MESSAGES):
        message = _expand(rules, "text", feelings, feelings[0], draws)
        yield message.lower().replace(",", "")


def _punctuate(text: str) -> str:
    text = re.sub(r"\b(a) (?=[aeiou])", r"\1n ", text)
    text = re.sub(r" +(?=[,.])", "", f"{text.strip()}.")
    return re.sub(r"^[a-z]|(?<=\. )[a-z]", lambda match: match[0].upper(), text)


def _parse(grammar: Mapping[str, str]) -> Rules:
    return {
        symbol: tuple(" ".join(option.split()) for option in options.split("|"))
        for symbol, options in grammar.items()
    }


def _expand(
    rules: Rules, symbol: str, classes: tuple[str, ...], own: str, draws: Iterator[float]
) -> str:
    role, _, rule = symbol.rpartition(":")
    if role:
        allowed = [own] if role == "own" else [c for c in classes if role == "any" or c != own]
        symbol = f"{_pick(allowed, draws)}:{rule}"
    option = _pick(rules[symbol], draws)
    return re.sub(r"{(.*?)}", lambda slot: _expand(rules, slot[1], classes, own, draws), option)


def _pick(options: list[str] | tuple[str, ...], draws: Iterator[float]) -> str:
    return options[int(next(draws) * len(options))]


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(4096).tolist()
