"""Chips by name: those whose calibration ships here, IBM's fake ones, and a user's own file."""

import json
import re
from functools import lru_cache
from importlib.resources import files

from qdllm import outside
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown
from qdllm.processors.calibration import Calibration

NAMES = ("baihua",)
"""Those that ship here."""
FAKE = re.compile(r"fake_[a-z0-9_]{1,40}")
SUFFIX = ".json"
TRAINED_ON = 8
"""Trajectories of a chip's noise that each batch is trained on."""


def known(chip: str) -> bool:
    """Whether it can be one: whether it is there shows when it is read."""
    return chip in NAMES or chip.endswith(SUFFIX) or FAKE.fullmatch(chip) is not None


def named(chip: str) -> bool:
    """Whether it is known by its name alone, wherever it is read."""
    return chip in NAMES or FAKE.fullmatch(chip) is not None


def hint(chip: str) -> str:
    """Those that are, for a message."""
    return f"{nearest(chip, list(NAMES)) or '.'} There are: {', '.join(NAMES)}, and fake_fez …"


@lru_cache
def calibration(chip: str) -> Calibration:
    """A chip's calibration. Raises ConfigError where there is none, or for a file that is none."""
    if chip in NAMES:
        text = files("qdllm.processors").joinpath(f"{chip}{SUFFIX}").read_text(encoding="utf-8")
        return Calibration.parse(json.loads(text))
    if FAKE.fullmatch(chip):
        # It needs the extra `ibm`.
        from qdllm.processors.fake import calibration as fake

        return fake(chip)
    text = outside.text(chip)
    try:
        plain = outside.parsed(text)
        if not isinstance(plain, dict):
            raise ConfigError(f"it must hold one JSON object, but {shown(plain)} is there")
        return Calibration.parse(plain)
    except ConfigError as error:
        raise ConfigError(
            "\n".join(f"calibration {chip}: {line}" for line in str(error).splitlines())
        ) from None
