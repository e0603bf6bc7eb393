"""Nets in inference: token ids in, logits out."""

import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from qdllm.rivals.bodies import Net
from qdllm.rivals.linear import Linear

CHUNK = 64
"""Texts that a prediction takes at once, to bound its memory."""


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Rows:
    """Trained nets of one shape, one at a time in memory."""

    def __init__(self, net: Net, parameters_SP: Tensor) -> None:
        """`net`: one of that shape, whose values do not matter."""
        self._net, self._rows = net.still().to(device()).eval(), parameters_SP

    def predict(self, features_NH: Tensor) -> Tensor:
        """logits_SNC for token ids, −1 where a text has ended."""
        parts = []
        for row_P in self._rows:
            vector_to_parameters(row_P.to(device()), self._net.parameters())
            parts.append(logits(self._net, features_NH))
        return torch.stack(parts)


@torch.no_grad()
def logits(net: Net, ids_NT: Tensor) -> Tensor:
    """logits_NC in inference, row n for text n; texts of similar length go together."""
    net.eval()
    order = torch.argsort(lengths(ids_NT), descending=True, stable=True)
    with Linear():
        parts = [net(*padded(ids_NT[rows])).logits_NC.cpu() for rows in order.split(CHUNK)]
    found_NC = torch.cat(parts)
    return torch.empty_like(found_NC).index_copy_(0, order, found_NC)


def lengths(ids_NT: Tensor) -> Tensor:
    """How many tokens each text has: (N,)."""
    return (ids_NT >= 0).sum(1)


def padded(ids_NT: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and mask of a batch, no longer than its longest text."""
    mask_NT = ids_NT >= 0
    length = int(mask_NT.sum(1).max())
    ids = ids_NT[:, :length].clamp(min=0).long().to(device())
    return ids, mask_NT[:, :length].long().to(device())
