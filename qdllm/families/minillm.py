"""MiniLLM: reverse KL (Gu et al., arXiv 2306.08543), in the exact form that a classifier allows.

A response is one step over C classes, so the expectation under the body itself is a sum: no
sampling, no importance weights, no clipping, and the long-range reward is empty. Reverse KL's
gradient dies where a body is sure and wrong, so a stage on hard labels goes before, as the authors'
fine-tuning does, and a hard-label term stays, as their language-model term does.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qdllm.errors import ConfigError
from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import Temperature, Weight
from qdllm.spec import Spec
from qdllm.specs import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


class MiniLlmTerms(Spec):
    """Of the second stage; `hard_epochs` of all epochs are the first."""

    reverse_kl: Weight = 1.0
    hard: Weight = 0.5
    temperature: Temperature = 1.0
    hard_epochs: Annotated[int, Field(ge=0, le=10_000)] = 1


class MiniLlmSpec(BodiedSpec):
    """A body that seeks its teacher's modes."""

    family: Literal["minillm"] = "minillm"
    teacher: TeacherSpec = TeacherSpec()
    terms: MiniLlmTerms = MiniLlmTerms()


class MiniLlm(Tuned[MiniLlmSpec]):
    """Reverse KL after fine-tuning."""

    name = "minillm"
    label = "MiniLLM"
    plural = "MiniLLM bodies"
    kind = "minillm"
    spec = MiniLlmSpec
    reads = ("tokens", "soft_labels")
    control = "hard"
    paper = "MiniLLM"

    def check(self, spec: MiniLlmSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        super().check(spec, texts_C)
        if spec.terms.hard_epochs >= spec.tuning.epochs:
            raise ConfigError(
                f"terms.hard_epochs: {spec.terms.hard_epochs} of {spec.tuning.epochs} epochs leave "
                "none for reverse KL; give fewer, or more tuning.epochs"
            )

    def teaching(
        self, spec: MiniLlmSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does."""
        from qdllm.rivals.course import Batch, Course, Stage, softly
        from qdllm.rivals.terms import cross_entropy, reverse_kl

        terms, teacher_NC = spec.terms, softly(train)

        def course(net: "Body", seed: int) -> Course:
            def hard(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                return cross_entropy(said.logits_NC, batch.labels_N)

            def both(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                soft_N = reverse_kl(said.logits_NC, teacher_NC[batch.rows_N], terms.temperature)
                hard_N = cross_entropy(said.logits_NC, batch.labels_N)
                return terms.reverse_kl * soft_N + terms.hard * hard_N

            rest = spec.tuning.epochs - terms.hard_epochs
            return Course(net, [Stage(terms.hard_epochs, hard), Stage(rest, both)])

        return course


FAMILY = MiniLlm()
