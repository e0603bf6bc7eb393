"""Nets that read words one after another: Lai's recurrence, and a GRU under convolutions."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from qdllm.rivals.bodies import Net, Said

GATED, FILTERS, KERNELS = 64, 100, (2, 3, 4)
"""Of HiAGM's text encoder: units each way, and filters of each width."""


class Recurrent(Net):
    """Words, a vector for each text as `read` has it, and a linear head."""

    def __init__(
        self, vocabulary: int, width: int, read: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.head = nn.Linear(read, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_NT: Tensor, mask_NT: Tensor) -> Said:
        """logits_NC alone."""
        read_NH = self.read(self.dropout(self.words(ids_NT)), mask_NT)
        return Said(self.head(self.dropout(read_NH)))

    def read(self, words_NTE: Tensor, mask_NT: Tensor) -> Tensor:
        """A vector for each text."""
        raise NotImplementedError

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Values for all parameters: U(±1/√fan_in), as torch's own layers have; N(0, 0.1²) for
        words."""
        for part in self.modules():
            for parameter in part.parameters(recurse=False):
                if part is self.words:
                    parameter.normal_(std=0.1, generator=generator)
                else:
                    bound = _fan_in(part, parameter) ** -0.5
                    parameter.uniform_(-bound, bound, generator=generator)


def _fan_in(part: nn.Module, parameter: Tensor) -> int:
    """How many numbers each output of a layer sums; a bias goes by its layer's, and a GRU, as
    torch has it, by its state's."""
    if isinstance(part, nn.Linear):
        return part.in_features
    if isinstance(part, nn.GRU):
        return part.hidden_size
    if isinstance(part, nn.Conv1d):
        return part.in_channels * part.kernel_size[0]
    return parameter.shape[-1]


class Lai(Recurrent):
    """c_l(i) = tanh(W_l c_l(i − 1) + W_sl e(i − 1)), c_r from the right; y = tanh(W₂[c_l; e; c_r] +
    b); its maximum over a text's words, element by element (equations 1 to 5). First contexts are
    learnt."""

    def __init__(
        self, vocabulary: int, width: int, context: int, hidden: int, classes: int, dropout: float
    ) -> None:
        super().__init__(vocabulary, width, hidden, classes, dropout)
        self.along = nn.Parameter(torch.empty(2, context, context))
        """W_l and W_r."""
        self.beside = nn.Parameter(torch.empty(2, context, width))
        """W_sl and W_sr."""
        self.first = nn.Parameter(torch.empty(2, context))
        self.hidden = nn.Linear(2 * context + width, hidden)

    def read(self, words_NTE: Tensor, mask_NT: Tensor) -> Tensor:
        """As Recurrent does."""
        left_NTK, right_NTK = self.contexts(words_NTE, mask_NT)
        both = torch.cat([left_NTK, words_NTE, right_NTK], -1)
        hidden_NTH = torch.tanh(self.hidden(both))
        return hidden_NTH.masked_fill(mask_NT.unsqueeze(-1) == 0, -torch.inf).amax(1)

    def contexts(self, words_NTE: Tensor, mask_NT: Tensor) -> tuple[Tensor, Tensor]:
        """What stands left and right of each word; of padding, nothing that is used."""
        length = words_NTE.shape[1]
        at_T = torch.arange(length, device=words_NTE.device)
        # A text turned round, so that both ways run from its own first or last word.
        turned_NT = (mask_NT.sum(1, keepdim=True) - 1 - at_T).clamp(min=0)
        index = turned_NT.unsqueeze(-1)
        turned = words_NTE.gather(1, index.expand_as(words_NTE))
        beside_2NTK = torch.einsum("dnte,dke->dntk", torch.stack([words_NTE, turned]), self.beside)
        context = self.first.unsqueeze(1).expand(-1, len(words_NTE), -1)
        found = [context]
        for at in range(length - 1):
            along = torch.bmm(context, self.along.transpose(1, 2))
            context = torch.tanh(along + beside_2NTK[:, :, at])
            found.append(context)
        left, right = torch.stack(found, 2)
        return left, right.gather(1, index.expand_as(right))


class Gated(Recurrent):
    """A bidirectional GRU, convolutions over two, three and four words, and each filter's maximum:
    300 numbers for a text, by 256,044 parameters on words of 300."""

    def __init__(self, vocabulary: int, width: int, classes: int, dropout: float) -> None:
        super().__init__(vocabulary, width, len(KERNELS) * FILTERS, classes, dropout)
        self.gru = nn.GRU(width, GATED, batch_first=True, bidirectional=True)
        self.filters = nn.ModuleList(nn.Conv1d(2 * GATED, FILTERS, size) for size in KERNELS)

    def read(self, words_NTE: Tensor, mask_NT: Tensor) -> Tensor:
        """As Recurrent does."""
        lengths_N = mask_NT.sum(1).cpu()
        packed = pack_padded_sequence(words_NTE, lengths_N, batch_first=True, enforce_sorted=False)
        states_NTG, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        ended_N1T = (mask_NT == 0).unsqueeze(1)
        found = []
        for size, filters in zip(KERNELS, self.filters, strict=True):
            # Zeros after a text's end, so that each of its words begins a window.
            values_NFT = torch.relu(filters(pad(states_NTG.transpose(1, 2), (0, size - 1))))
            found.append(values_NFT.masked_fill(ended_N1T, 0).amax(-1))
        return torch.cat(found, -1)
