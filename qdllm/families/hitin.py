"""HiTIN: labels' vectors on a coding tree over a text encoder (Zhu et al., ACL 2023).

With flat labels little of it is left, and that is what runs here: no label has a parent, so the
hierarchy's penalty is 0; one label for each text, so cross-entropy stands for the sum over labels;
the copies of a text's vector, one for each label, differ by a scale and a shift; and the tree that
its algorithm aims at is symmetric. The authors' program builds an inconsistent one for three labels
and more, so it is built by hand.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qdllm.errors import ConfigError
from qdllm.families.tuned import BodiedSpec, Tuned
from qdllm.rivals.specs import WholeBody, Width
from qdllm.spec import Spec

if TYPE_CHECKING:
    from qdllm.rivals.bodies import Net


class TreeSpec(Spec):
    """The head: vectors of `width` on a tree of that `height`."""

    width: Width = 768
    height: Annotated[int, Field(ge=1, le=100)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class HitinSpec(BodiedSpec):
    """A whole body under a tree of labels, on hard labels."""

    family: Literal["hitin"] = "hitin"
    body: WholeBody = WholeBody()
    tree: TreeSpec = TreeSpec()


class Hitin(Tuned[HitinSpec]):
    """A hierarchy-aware method where there is no hierarchy."""

    name = "hitin"
    label = "HiTIN"
    plural = "HiTIN bodies"
    kind = "hitin"
    spec = HitinSpec
    reads = ("tokens",)

    def lacks(self, spec: HitinSpec) -> tuple[str, ...]:
        """As Family does: with flat labels, whatever the teacher."""
        return ("flat labels leave no hierarchy: a body under a batch-normed head",)

    def check(self, spec: HitinSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        super().check(spec, texts_C)
        texts, batch = sum(texts_C), spec.tuning.batch_size
        if batch == 1 or texts % batch == 1:
            raise ConfigError(
                f"tuning.batch_size: {texts:,} training texts in batches of {batch} leave a batch "
                "of one, which has no spread for a batch norm; give another size"
            )

    def net(self, spec: HitinSpec, classes: int, dropout: float) -> "Net":
        """As Tuned does: the tree stands where others have a linear head."""
        from qdllm.rivals import bodies
        from qdllm.rivals.tree import Planted, Tree

        body = bodies.empty(spec.body, spec.encoder, classes, dropout)
        tree = spec.tree
        return Planted(body, Tree(body.width, tree.width, tree.height, classes, tree.dropout))


FAMILY = Hitin()
