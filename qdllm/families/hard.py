"""A control: the rivals' shared body, fine-tuned on the dataset's labels alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from qdllm.families.tuned import BodiedSpec, Tuned

if TYPE_CHECKING:
    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


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

    def teaching(
        self, spec: HardSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does: cross-entropy."""
        from qdllm.rivals.course import on_labels

        return on_labels(spec.tuning.epochs)


FAMILY = Hard()
