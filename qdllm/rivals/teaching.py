"""What a teacher says beside its soft labels: states of each token, or pooled ones of each text."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from qdllm import teacher
from qdllm.fit import Examples
from qdllm.rivals.bodies import run
from qdllm.rivals.inference import device
from qdllm.rivals.loop import Batch
from qdllm.specs import TeacherSpec

ADAPTER = "adapter."
"""What stands before the names of the adapter's tensors among what a trial reads."""


class Beside:
    """A fine-tuned teacher that reads a body's own tokens, batch by batch."""

    def __init__(self, spec: TeacherSpec, classes: int, more: Mapping[str, Tensor] | None) -> None:
        """From its adapter, among what a trial reads. Raises TeacherError for another model's."""
        adapter = {
            name.removeprefix(ADAPTER): tensor
            for name, tensor in (more or {}).items()
            if name.startswith(ADAPTER)
        }
        _, model = teacher.reload(spec, classes, adapter)
        self._bert = model.transformer.to(device()).requires_grad_(False)

    @torch.no_grad()
    def __call__(
        self, batch: Batch, scored: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Every state of each token in float32, and attention's scores where asked for."""
        states, scores = run(self._bert, batch.ids_NT, batch.mask_NT, scored)
        return tuple(each.float() for each in states), tuple(each.float() for each in scores)


def pooled(train: Examples, layers: Sequence[int], standardised: bool) -> dict[int, Tensor]:
    """A teacher's pooled states of the training texts, (N, H) by layer, as they were stored.

    `standardised`: each coordinate to mean 0 and deviation 1 over the texts. In decoders a few are
    orders of magnitude above the rest, and would be all that a distance sees.
    """
    assert train.more is not None, "whoever asks has named them among what it reads"
    parts = train.more["states"].float().chunk(len(layers), dim=1)
    if standardised:
        parts = tuple(
            (part - part.mean(0)) / part.std(0, correction=0).clamp(min=1e-6) for part in parts
        )
    return {layer: part.to(device()) for layer, part in zip(layers, parts, strict=True)}


def maps(count: int, width: int, to: int, seed: int) -> nn.ModuleList:
    """Linear maps from a body's width to a teacher's, which are thrown away after training."""
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Linear(width, to) for _ in range(count)]
    with torch.no_grad():
        for each in made:
            each.weight.copy_(torch.randn(to, width, generator=generator) / width**0.5)
            each.bias.zero_()
    return nn.ModuleList(made)
