"""A control: the rivals' shared body, taught by the soft labels alone.

Hinton et al. (arXiv 1503.02531); on a small pretrained student, Pre-trained Distillation (Turc et
al., arXiv 1908.08962).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import Temperature
from qdllm.specs import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


class KlSpec(BodiedSpec):
    """T² · KL(teacher ‖ body)."""

    family: Literal["kl"] = "kl"
    teacher: TeacherSpec = TeacherSpec()
    temperature: Temperature = 2.0


class Kl(Tuned[KlSpec]):
    """What a rival's other terms have to add to."""

    name = "kl"
    label = "body with KL alone"
    plural = "bodies with KL alone"
    kind = "kl"
    spec = KlSpec
    reads = ("tokens", "soft_labels")
    control = "hard"

    def teaching(
        self, spec: KlSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does."""
        from qdllm.rivals.course import Batch, Course, Stage, softly
        from qdllm.rivals.terms import kl

        teacher_NC = softly(train)

        def course(net: "Body", seed: int) -> Course:
            def loss(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                return kl(said.logits_NC, teacher_NC[batch.rows_N], spec.temperature)

            return Course(net, [Stage(spec.tuning.epochs, loss)])

        return course


FAMILY = Kl()
