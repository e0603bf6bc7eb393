"""LSFLS: few labelled texts, then self-training (Wang et al., TIFS 2023,
10.1109/TIFS.2023.3298210).

No program of it is known. A pretrained body is fine-tuned on a few labelled texts of each class; it
labels the others of the training split, the clearest of each class enter with the labels that it
gave them, and a fresh body is trained on both; round by round more of them. Rounds and shares are
our choice, close to its successor's (PDTS, arXiv 2406.18565). With all labels given there is
nothing left to label, and it is plain fine-tuning.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from qdllm.errors import ConfigError
from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import TuningSpec, WholeBody
from qdllm.spec import Spec
from qdllm.specs import BatchSize

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples
    from qdllm.rivals.bodies import Net
    from qdllm.rivals.course import Course, Predict


class FewSpec(Spec):
    """`labelled` texts of each class keep their labels, drawn from the training split by the seed;
    in round r of `rounds` each predicted class's r · `share` clearest join them."""

    labelled: Annotated[int, Field(ge=1, le=10**9)] | Literal["all"] = 10
    rounds: Annotated[int, Field(ge=0, le=100)] = 3
    share: Annotated[float, Field(gt=0, le=1)] = 0.1


class FewTuning(TuningSpec):
    """Ten texts of each class are one or two batches. `epochs`: of a round."""

    epochs: int = Field(6, ge=1, le=10_000)
    batch_size: BatchSize = 16

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As TuningSpec does; beside it, what draws a course of batches of its own."""
        return super().hashed(plain) | {"measured": "rounds"}


class LsflsSpec(BodiedSpec):
    """A whole body that labels most of its texts itself."""

    family: Literal["lsfls"] = "lsfls"
    body: WholeBody = WholeBody()
    few: FewSpec = FewSpec()
    tuning: FewTuning = FewTuning()

    @property
    def trainings(self) -> int:
        """How often a body is trained: once, and once more in each round."""
        return 1 if self.few.labelled == "all" else 1 + self.few.rounds


class Lsfls(Tuned[LsflsSpec]):
    """What few labels give."""

    name = "lsfls"
    label = "LSFLS"
    plural = "LSFLS bodies"
    kind = "lsfls"
    spec = LsflsSpec
    reads = ("tokens",)

    def check(self, spec: LsflsSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        super().check(spec, texts_C)
        labelled = spec.few.labelled
        if labelled != "all" and labelled > min(texts_C):
            raise ConfigError(
                f"few.labelled: {labelled:,} texts of each class were asked for, but the smallest "
                f"class has {min(texts_C):,} to train on; give at most so many, or all"
            )
        if labelled != "all" and spec.few.rounds * spec.few.share > 1:
            raise ConfigError(
                f"few.rounds: {spec.few.rounds} rounds of {spec.few.share:g} more each come to "
                "more than all texts without labels; give fewer, or a smaller few.share"
            )

    def epochs(self, spec: LsflsSpec) -> int:
        """As Family does: a round is one, since measuring costs more than to go over so few texts
        once."""
        return spec.tuning.epochs if spec.few.labelled == "all" else spec.trainings

    def work(self, spec: LsflsSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        alike, _ = super().work(spec)
        return alike, len(spec.seeds) * spec.trainings * spec.tuning.epochs

    def teaching(
        self, spec: LsflsSpec, train: "Examples", classes: int
    ) -> "Callable[[Net, int], Course]":
        """As Tuned does. What it labels itself comes from `train` alone."""
        import torch

        from qdllm.rivals.course import Course, on_labels

        few, plain = spec.few, on_labels(spec.tuning.epochs)
        if few.labelled == "all":
            return plain

        def course(net: "Net", seed: int) -> Course:
            own_N = drawn(train.labels_N, int(few.labelled), classes, seed)
            (stage,) = plain(net, seed).stages
            round_long = stage._replace(epochs=1, passes=spec.tuning.epochs)

            def choose(round: int) -> "Callable[[Predict], tuple[Tensor, Tensor]]":
                def chosen(predict: "Predict") -> "tuple[Tensor, Tensor]":
                    if not round:
                        return own_N, train.labels_N[own_N]
                    rows_N, labels_N = clearest(predict(), own_N, round * few.share)
                    labels = [train.labels_N[own_N], labels_N]
                    return torch.cat([own_N, rows_N]), torch.cat(labels)

                return chosen

            rounds = range(spec.trainings)
            return Course(net, [round_long._replace(choose=choose(round)) for round in rounds])

        return course


def drawn(labels_N: "Tensor", each: int, classes: int, seed: int) -> "Tensor":
    """So many rows of each class, in order."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    order_N = torch.randperm(len(labels_N), generator=generator)
    rows = [order_N[labels_N[order_N] == label][:each] for label in range(classes)]
    return torch.cat(rows).sort().values


def clearest(logits_NC: "Tensor", labelled_N: "Tensor", share: float) -> "tuple[Tensor, Tensor]":
    """Of the rows that are not labelled, that share of each predicted class whose probability is
    highest, at least one where there are any; and the classes predicted."""
    import torch

    confidence_N, predicted_N = torch.softmax(logits_NC, -1).max(-1)
    free_N = torch.ones(len(logits_NC), dtype=torch.bool).index_fill_(0, labelled_N, False)
    rows = []
    for label in range(logits_NC.shape[1]):
        own_N = (free_N & (predicted_N == label)).nonzero().flatten()
        best_N = confidence_N[own_N].argsort(descending=True, stable=True)
        rows.append(own_N[best_N[: max(1, int(share * len(own_N)))]])
    chosen_N = torch.cat(rows)
    return chosen_N, predicted_N[chosen_N]


FAMILY = Lsfls()
