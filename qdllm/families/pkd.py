"""PKD: a body follows the teacher's pooled states, layer by layer (Sun et al., arXiv 1908.09355).

(1 − α)·CE + α·T²·KL + β·Σ ‖ŝ − t̂‖² over pairs of states. The authors' program averages KL over
classes and β's term over width; here neither is, so that weights mean the same for any number of
classes and any width: their β = 500 at width 768 is `terms.states` = 0.65, their α of two classes
half of ours.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import (
    Pair,
    Share,
    Temperature,
    Weight,
    check_depth,
    check_pairs,
    depth,
    last,
    same_tokens,
    skip,
)
from qdllm.spec import Spec
from qdllm.specs import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


class PkdTerms(Spec):
    """`pairs` of states of the body and of the teacher: even steps, the last ones, or named."""

    alpha: Share = 0.5
    temperature: Temperature = 5.0
    states: Weight = 0.65
    pairs: (
        Literal["skip", "last"] | Annotated[tuple[Pair, ...], Field(min_length=1, max_length=1000)]
    ) = "skip"


class PkdSpec(BodiedSpec):
    """A body that follows a teacher's states."""

    family: Literal["pkd"] = "pkd"
    teacher: TeacherSpec = TeacherSpec()
    terms: PkdTerms = PkdTerms()

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """States of the body and of the teacher, 0 the embeddings. Raises ConfigError for a model
        whose depth is not known."""
        if not isinstance(self.terms.pairs, str):
            return self.terms.pairs
        of = depth(self.teacher.model, self.teacher.weights)
        return {"skip": skip, "last": last}[self.terms.pairs](self.depth, of)

    @property
    def mapped(self) -> bool:
        """Whether a map stands between the body's states and the teacher's."""
        return not same_tokens(self.teacher, self.encoder) or self.body.width is not None

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's states that are read."""
        return tuple(sorted({theirs for _, theirs in self.pairs}))


class Pkd(Tuned[PkdSpec]):
    """Patient knowledge distillation."""

    name = "pkd"
    label = "PKD"
    plural = "PKD bodies"
    kind = "pkd"
    spec = PkdSpec
    reads = ("tokens", "soft_labels")
    control = "hard"
    paper = "PKD"

    def sources(self, spec: PkdSpec) -> tuple[str, ...]:
        """As Family does: pooled states, where they have a weight."""
        return (*self.reads, *["teacher_states"] * bool(spec.terms.states and spec.pairs))

    def lacks(self, spec: PkdSpec) -> tuple[str, ...]:
        """As Family does."""
        if not (spec.mapped and spec.terms.states):
            return ()
        return ("states by a map that is learnt, and standardised",)

    def check(self, spec: PkdSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        super().check(spec, texts_C)
        if spec.terms.states:
            of = depth(spec.teacher.model, spec.teacher.weights)
            layers, model = spec.depth, spec.teacher.model
            if isinstance(spec.terms.pairs, str):
                check_depth(layers, model, of)
            check_pairs(spec.pairs, "terms.pairs", layers, model, of)

    def teaching(
        self, spec: PkdSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does."""
        from qdllm.rivals.course import Batch, Course, Stage, softly
        from qdllm.rivals.teaching import maps, pooled
        from qdllm.rivals.terms import cross_entropy, kl, unit_distance

        terms, teacher_NC = spec.terms, softly(train)
        followed = "teacher_states" in self.sources(spec)
        theirs = pooled(train, spec.teacher_layers, spec.mapped) if followed else {}
        pairs = spec.pairs if followed else ()

        def course(net: "Body", seed: int) -> Course:
            aside = None
            if spec.mapped and pairs:
                width = theirs[pairs[0][1]].shape[1]
                aside = maps(len(pairs), net.width, width, seed)

            def loss(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                hard_N = cross_entropy(said.logits_NC, batch.labels_N)
                soft_N = kl(said.logits_NC, teacher_NC[batch.rows_N], terms.temperature)
                loss_N = (1 - terms.alpha) * hard_N + terms.alpha * soft_N
                for number, (own, layer) in enumerate(pairs):
                    state_NH = net.pool(said.states[own], batch.mask_NT)
                    if aside is not None:
                        state_NH = aside[number](state_NH)
                    apart_N = unit_distance(state_NH, theirs[layer][batch.rows_N])
                    loss_N = loss_N + terms.states * apart_N
                return loss_N

            return Course(net, [Stage(spec.tuning.epochs, loss)], aside)

        return course


FAMILY = Pkd()
