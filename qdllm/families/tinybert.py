"""TinyBERT: a narrower body that follows embeddings, states and attention (Jiao et al., arXiv
1909.10351).

First the transformer's own terms, then, with moments and learning rates of its own, the
prediction's: −Σ p log q at T = 1, without hard labels. All weights are 1, and one map with bias
serves embeddings and every layer, as in the authors' program; its means over padding and over
classes are mended here. States are followed standardised: plain squared errors are mostly of what
all of a teacher's states have in common. The authors' general stage on plain text has a stand-in:
embeddings on the principal components of the larger model's. There is no augmentation of texts,
which asks for a masked language model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from qdllm import models
from qdllm.errors import ConfigError
from qdllm.families.tuned import CutSpec, Tuned
from qdllm.rivals.specs import (
    BodySpec,
    Layers,
    ScratchSpec,
    Weight,
    Width,
    check_depth,
    depth,
    same_tokens,
)
from qdllm.spec import Spec
from qdllm.specs import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Body
    from qdllm.rivals.course import Course


class NarrowBody(BodySpec):
    """3 layers, 192 wide."""

    layers: Layers | Literal["all"] = (0, 1, 2)
    start: Literal["base", "pca", "random"] = "pca"
    width: Width | None = 192
    intermediate: Width | None = 768


class TinyBertTerms(Spec):
    """The first three weigh in the first stage, which has `transformer_epochs` epochs before those
    of `training`; the others in the second."""

    embeddings: Weight = 1.0
    hidden: Weight = 1.0
    attention: Weight = 1.0
    prediction: Weight = 1.0
    hard: Weight = 0.0
    transformer_epochs: Annotated[int, Field(ge=0, le=10_000)] = 3


class TinyBertSpec(CutSpec):
    """A body of 3 layers, 192 wide, with as many heads as its teacher."""

    family: Literal["tinybert"] = "tinybert"
    teacher: TeacherSpec = TeacherSpec()
    body: NarrowBody = NarrowBody()
    terms: TinyBertTerms = TinyBertTerms()
    training: ScratchSpec = ScratchSpec()

    @property
    def tuning(self) -> ScratchSpec:
        """How the body is trained: its layers begin at random."""
        return self.training

    @property
    def followed(self) -> tuple[int, ...]:
        """The teacher's state that each of the body's follows, the embeddings' first: g(m) = mN/M.

        Raises ConfigError for a model whose depth is not known.
        """
        layers, of = self.depth, depth(self.teacher.model, self.teacher.weights)
        return tuple(state * of // layers for state in range(layers + 1))

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's states that are read, where they are pooled."""
        return tuple(sorted(set(self.followed)))

    @property
    def by_token(self) -> bool:
        """Whether the teacher's states are of the body's own tokens."""
        return same_tokens(self.teacher, self.encoder)

    @property
    def first_stage(self) -> bool:
        """Whether there is one."""
        terms = self.terms
        weights = terms.embeddings, terms.hidden, terms.attention if self.by_token else 0.0
        return bool(terms.transformer_epochs) and any(weights)


class TinyBert(Tuned[TinyBertSpec]):
    """Two-stage transformer distillation."""

    name = "tinybert"
    label = "TinyBERT"
    plural = "TinyBERT bodies"
    kind = "tinybert"
    spec = TinyBertSpec
    reads = ("tokens", "soft_labels")
    control = "hard"
    told: ClassVar[Mapping[str, str]] = {
        "lr": "spec/training/lr",
        "epochs": "spec/training/epochs",
        "validation": "metrics/val.accuracy",
    }
    paper = "TinyBERT"

    def sources(self, spec: TinyBertSpec) -> tuple[str, ...]:
        """As Family does: the teacher itself, or its pooled states, where a term asks for them."""
        more = "adapter" if spec.by_token else "teacher_states"
        return (*self.reads, *[more] * spec.first_stage)

    def lacks(self, spec: TinyBertSpec) -> tuple[str, ...]:
        """As Family does."""
        if spec.by_token or not spec.first_stage:
            return ()
        return ("attention is gone", "embeddings and states pooled and standardised")

    def check(self, spec: TinyBertSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        super().check(spec, texts_C)
        heads = models.config(spec.encoder.model, spec.encoder.weights)["num_attention_heads"]
        layers, of = spec.depth, depth(spec.teacher.model, spec.teacher.weights)
        if spec.first_stage:
            check_depth(layers, spec.teacher.model, of)
        own = spec.body.heads or heads
        if spec.by_token and spec.first_stage and spec.terms.attention and own != heads:
            raise ConfigError(
                f"body.heads: attention follows the teacher head by head, but {own} was given and "
                f"{spec.teacher.model!r} has {heads}; give body.heads={heads}, or "
                "terms.attention=0"
            )

    def epochs(self, spec: TinyBertSpec) -> int:
        """As Family does: those of both stages."""
        return spec.terms.transformer_epochs * spec.first_stage + spec.tuning.epochs

    def teaching(
        self, spec: TinyBertSpec, train: "Examples", classes: int
    ) -> "Callable[[Body, int], Course]":
        """As Tuned does."""
        import torch

        from qdllm.rivals.course import Batch, Course, Stage, softly
        from qdllm.rivals.teaching import Followed, maps
        from qdllm.rivals.terms import (
            cross_entropy,
            score_error,
            soft_cross_entropy,
            squared_error,
            standardised,
        )

        terms, teacher_NC, layers = spec.terms, softly(train), spec.followed
        followed = None
        if spec.first_stage:
            read = spec.teacher_layers
            followed = Followed(spec.teacher, read, classes, train, spec.by_token)
        weights = [terms.embeddings, *[terms.hidden] * spec.depth]
        scored = bool(terms.attention and spec.by_token)

        def course(net: "Body", seed: int) -> Course:
            aside = maps(1, net.width, followed.width, seed) if followed else None

            def transformer(batch: Batch) -> "Tensor":
                assert followed, "the first stage has a teacher"
                assert aside, "and a map"
                said = net(batch.ids_NT, batch.mask_NT, scored)
                states, scores = followed(batch, scored)
                loss_N = torch.zeros(len(batch.labels_N), device=batch.mask_NT.device)
                for weight, own, layer in zip(weights, said.states, layers, strict=True):
                    own_NTH, mask_NT = followed.beside(net, own, batch.mask_NT)
                    target_NTH = states[layer]
                    if followed.by_token:
                        target_NTH = standardised(target_NTH, mask_NT)
                    apart_N = squared_error(aside[0](own_NTH), target_NTH, mask_NT)
                    loss_N = loss_N + weight * apart_N
                # A state's layer is the one before it.
                for own, layer in zip(said.scores, layers[1:], strict=False):
                    apart_N = score_error(own, scores[layer - 1], batch.mask_NT)
                    loss_N = loss_N + terms.attention * apart_N
                return loss_N

            def prediction(batch: Batch) -> "Tensor":
                said = net(batch.ids_NT, batch.mask_NT)
                soft_N = soft_cross_entropy(said.logits_NC, teacher_NC[batch.rows_N])
                hard_N = cross_entropy(said.logits_NC, batch.labels_N)
                return terms.prediction * soft_N + terms.hard * hard_N

            stages = [
                Stage(terms.transformer_epochs * spec.first_stage, transformer),
                # With rates that have fallen since the first stage, and moments that know its far
                # larger gradients, this one would learn next to nothing.
                Stage(spec.tuning.epochs, prediction, fresh=True),
            ]
            return Course(net, stages, aside)

        return course


FAMILY = TinyBert()
