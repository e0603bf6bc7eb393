"""DistilBERT: half the layers, soft labels and the direction of each state (Sanh et al., arXiv
1910.01108), on a task's own texts.

5·T²·KL + 2·CE + 1·(1 − cos) of the last states, token by token; CE with the labels stands where the
authors, who distilled on plain text, had masked language modelling.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import Temperature, Weight, depth, same_tokens
from qdllm.spec import Spec
from qdllm.specs import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


class DistilBertTerms(Spec):
    """The authors' weights and temperature."""

    kl: Weight = 5.0
    hard: Weight = 2.0
    cosine: Weight = 1.0
    temperature: Temperature = 2.0


class DistilBertSpec(BodiedSpec):
    """A body that keeps the direction of its teacher's last states."""

    family: Literal["distilbert"] = "distilbert"
    teacher: TeacherSpec = TeacherSpec()
    terms: DistilBertTerms = DistilBertTerms()

    @property
    def by_token(self) -> bool:
        """Whether the teacher's states are of the body's own tokens and width."""
        return same_tokens(self.teacher, self.encoder) and self.body.width is None

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's states that are read, where they are pooled: the last."""
        return (depth(self.teacher.model, self.teacher.weights),)


class DistilBert(Tuned[DistilBertSpec]):
    """Distillation as DistilBERT's authors weighed it."""

    name = "distilbert"
    label = "DistilBERT"
    plural = "DistilBERT bodies"
    kind = "distilbert"
    spec = DistilBertSpec
    reads = ("tokens", "soft_labels")
    control = "hard"
    paper = "DistilBERT"

    def sources(self, spec: DistilBertSpec) -> tuple[str, ...]:
        """As Family does: the teacher itself, or its pooled states, where cosine has a weight."""
        more = "adapter" if spec.by_token else "teacher_states"
        return (*self.reads, *[more] * bool(spec.terms.cosine))

    def lacks(self, spec: DistilBertSpec) -> tuple[str, ...]:
        """As Family does."""
        if spec.by_token or not spec.terms.cosine:
            return ()
        return ("cosine of pooled states by a map that is learnt, not of each token's",)

    def teaching(
        self, spec: DistilBertSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does."""
        from qdllm.rivals.course import Batch, Course, Stage, softly
        from qdllm.rivals.teaching import Followed, maps
        from qdllm.rivals.terms import cosine_distance, cross_entropy, kl

        terms, teacher_NC = spec.terms, softly(train)
        followed, last = None, 0
        if terms.cosine:
            (last,) = spec.teacher_layers
            followed = Followed(spec.teacher, (last,), classes, train, spec.by_token)

        def course(net: "Body", seed: int) -> Course:
            aside = None
            if followed and not spec.by_token:
                aside = maps(1, net.width, followed.width, seed)

            def loss(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                soft_N = kl(said.logits_NC, teacher_NC[batch.rows_N], terms.temperature)
                hard_N = cross_entropy(said.logits_NC, batch.labels_N)
                loss_N = terms.kl * soft_N + terms.hard * hard_N
                if not followed:
                    return loss_N
                states, _ = followed(batch)
                own_NTH, mask_NT = followed.beside(net, said.states[-1], batch.mask_NT)
                mapped_NTH = aside[0](own_NTH) if aside else own_NTH
                apart_N = cosine_distance(mapped_NTH, states[last], mask_NT)
                return loss_N + terms.cosine * apart_N

            return Course(net, [Stage(spec.tuning.epochs, loss)], aside)

        return course


FAMILY = DistilBert()
