"""What a teacher says beside its soft labels: states of each token, or pooled ones of each text."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qdllm import teacher
from qdllm.fit import Examples
from qdllm.rivals.bodies import Body, run
from qdllm.rivals.course import Batch
from qdllm.rivals.inference import device
from qdllm.specs import TeacherSpec

ADAPTER = "adapter."
"""What stands before the names of the adapter's tensors among what a trial reads."""
States = dict[int, Tensor]
"""By layer, 0 the embeddings."""


class Followed:
    """A fine-tuned teacher's states for a body's batches: of the body's own tokens, where both are
    of one model, or pooled, so that a text has one.
    """

    def __init__(
        self,
        spec: TeacherSpec,
        layers: Sequence[int],
        classes: int,
        train: Examples,
        by_token: bool,
    ) -> None:
        """From its adapter or its stored states, among what a trial reads.

        Raises TeacherError for another model's adapter.
        """
        self.by_token = by_token
        if by_token:
            adapter = {
                name.removeprefix(ADAPTER): tensor
                for name, tensor in (train.more or {}).items()
                if name.startswith(ADAPTER)
            }
            _, model = teacher.reload(spec, classes, adapter)
            self._bert = model.transformer.to(device()).requires_grad_(False)
            self.width: int = self._bert.config.hidden_size
        else:
            self._pooled = pooled(train, layers, standardised=True)
            self.width = self._pooled[layers[0]].shape[1]

    @torch.no_grad()
    def __call__(self, batch: Batch, scored: bool = False) -> tuple[States, tuple[Tensor, ...]]:
        """States (N, T, H) by layer in float32, T of 1 where they are pooled; and attention's
        scores, where asked for."""
        if not self.by_token:
            rows = {layer: each[batch.rows_N] for layer, each in self._pooled.items()}
            return {layer: each.unsqueeze(1) for layer, each in rows.items()}, ()
        states, scores = run(self._bert, batch.ids_NT, batch.mask_NT, scored)
        named = {layer: each.float() for layer, each in enumerate(states)}
        return named, tuple(each.float() for each in scores)

    def beside(self, net: Body, states_NTH: Tensor, mask_NT: Tensor) -> tuple[Tensor, Tensor]:
        """A body's own states and mask in the same form."""
        if self.by_token:
            return states_NTH, mask_NT
        return net.pool(states_NTH, mask_NT).unsqueeze(1), torch.ones_like(mask_NT[:, :1])


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
