"""HiTIN's head: a vector for each label, summed up a coding tree, read at every level."""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped

from qdllm.rivals.bodies import Body, Net, Said, uniform


def levels(classes: int, height: int) -> list[list[list[int]]]:
    """The tree of flat labels: for each level above the leaves, every node's children below.

    Two labels meet at the first level, and a chain leads to the root; more of them have a chain
    each, and meet in the root.
    """
    found, below = [], list(range(classes))
    for level in range(1, height + 1):
        nodes = [below] if level == height or classes == 2 else [[leaf] for leaf in below]
        found.append(nodes)
        below = list(range(len(nodes)))
    return found


class Norm(nn.BatchNorm1d):
    """Batch norm, whose running statistics `fold` puts into its weight and bias."""

    folded = False

    def forward(self, values: Tensor) -> Tensor:
        """(B, H) to (B, H)."""
        return values * self.weight + self.bias if self.folded else super().forward(values)

    @torch.no_grad()
    def fold(self) -> None:
        """From here on a scale and a shift."""
        assert self.running_mean is not None, "torch's default"
        assert self.running_var is not None, "torch's default"
        self.weight.div_((self.running_var + self.eps).sqrt())
        self.bias.sub_(self.running_mean * self.weight)
        self.folded = True


class Tree(nn.Module):
    """text_NH to logits_NC, by a projection, a mix of labels, and an MLP for each level."""

    def __init__(self, inputs: int, width: int, height: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.levels, self.dropout = levels(classes, height), dropout
        self.project = nn.Linear(inputs, width)
        self.mix = nn.Linear(classes, classes)
        self.rise = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), Norm(width), nn.ReLU(), nn.Linear(width, width))
            for _ in self.levels
        )
        self.norms = nn.ModuleList(Norm(width) for _ in self.levels)
        self.read = nn.ModuleList(nn.Linear(width, classes) for _ in range(height + 1))

    def forward(self, text_NH: Tensor) -> Tensor:
        """logits_NC. Each level's nodes are pooled by their sum."""
        text_NV = self._dropped(self.project(text_NH))
        copies_NVC = text_NV.unsqueeze(-1).expand(-1, -1, self.mix.in_features)
        nodes_NKV = self.mix(copies_NVC).transpose(1, 2)
        logits_NC = self.read[0](self._dropped(nodes_NKV.sum(1)))
        for nodes, rise, norm, read in zip(
            self.levels, self.rise, self.norms, list(self.read)[1:], strict=True
        ):
            sums_NKV = torch.stack([nodes_NKV[:, children].sum(1) for children in nodes], 1)
            flat = torch.relu(norm(rise(sums_NKV.flatten(0, 1))))
            nodes_NKV = flat.unflatten(0, sums_NKV.shape[:2])
            logits_NC = logits_NC + read(self._dropped(nodes_NKV.sum(1)))
        return logits_NC

    def _dropped(self, values: Tensor) -> Tensor:
        return dropped(values, self.dropout, self.training)


class Planted(Net):
    """A body with a tree in its head's place."""

    def __init__(self, body: Body, tree: Tree) -> None:
        super().__init__()
        body.head = tree
        self.body = body

    def forward(self, ids_NT: Tensor, mask_NT: Tensor) -> Said:
        """As the body does."""
        said: Said = self.body(ids_NT, mask_NT)
        return said

    def draw(self, generator: torch.Generator) -> None:
        """As Net does; the tree as torch's own layers start, so that its norms have a spread."""
        super().draw(generator)
        uniform(self.body.head, generator)

    def still(self) -> Self:
        """As Net does: a copy, whose norms are scales and shifts."""
        made = copy.deepcopy(self)
        for part in made.modules():
            if isinstance(part, Norm) and not part.folded:
                part.fold()
        return made
