"""Words for the three splits, in names of files and folders, and in columns."""

import re

SPLITS = ("train", "validation", "test")
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""As the Hugging Face hub reads them in names of files."""
_SPLIT = {word: split for split, words in WORDS.items() for word in words}


def split_of(word: object, strict: bool = True) -> str:
    """The split that a word means. For another word, an empty text, or if `strict` ValueError."""
    found = _SPLIT.get(str(word).strip().casefold(), "")
    if strict and not found:
        raise ValueError(f"the split is {word!r}, but it must be one of {', '.join(_SPLIT)}")
    return found


def splits_in(name: str) -> tuple[str, ...]:
    """The splits whose words stand in a name, apart from other letters: `train` of `a_train-01`."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return tuple(dict.fromkeys(_SPLIT[word] for word in words if word in _SPLIT))
