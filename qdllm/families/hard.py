"""A control: the rivals' shared body, fine-tuned on the dataset's labels alone."""

from typing import Literal

from qdllm.families.tuned import BodiedSpec, Tuned


class HardSpec(BodiedSpec):
    """A body without a teacher."""

    family: Literal["hard"] = "hard"


class Hard(Tuned[HardSpec]):
    """What a rival has to beat before a gain can be put down to its teacher."""

    name = "hard"
    label = "body on hard labels"
    plural = "bodies on hard labels"
    kind = "hard"
    spec = HardSpec


FAMILY = Hard()
