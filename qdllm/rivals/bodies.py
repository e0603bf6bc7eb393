"""Bodies: small BERTs cut from a larger one, with a linear head on their pooled last state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from qdllm import models
from qdllm.encoder import mean_pool, pretrained
from qdllm.rivals.specs import BodySpec, blocks
from qdllm.specs import EncoderSpec

STD = 0.02
"""Of what is drawn, as BERT's own weights were."""


class Said(NamedTuple):
    """What a net makes of a batch: `logits_NC`, and of a body every state and pooled vector.

    `states`: (N, T, H), the embeddings' first. `scores`: (N, heads, T, T) by layer, where asked.
    """

    logits_NC: Tensor
    states: tuple[Tensor, ...] = ()
    scores: tuple[Tensor, ...] = ()


class Net(nn.Module):
    """What the loop trains. Called with ids_NT and mask_NT, it gives what it `Said`."""

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Values to begin with: N(0, 0.02²) for what multiplies, 0 for biases, 1 for norms."""
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.reset_running_stats()
            for name, parameter in part.named_parameters(recurse=False):
                if isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
                    parameter.fill_(1.0 if name == "weight" else 0.0)
                elif parameter.dim() > 1:
                    parameter.normal_(std=STD, generator=generator)
                else:
                    parameter.zero_()

    def still(self) -> Self:
        """The same function for inference, in which all that was learnt is a parameter."""
        return self


class Body(Net):
    """A transformer and a head."""

    def __init__(self, transformer: Any, classes: int, pooling: str) -> None:
        super().__init__()
        self.transformer, self.pooling = transformer, pooling
        self.head: nn.Module = nn.Linear(transformer.config.hidden_size, classes)
        self.width: int = transformer.config.hidden_size

    def forward(self, ids_NT: Tensor, mask_NT: Tensor, scored: bool = False) -> Said:
        """logits_NC, every state, and attention's scores where they are asked for."""
        states, scores = run(self.transformer, ids_NT, mask_NT, scored)
        return Said(self.head(self.pool(states[-1], mask_NT)), states, scores)

    def pool(self, states_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        """A vector for each text, as the head reads it."""
        if self.pooling == "first":
            return states_NTH[:, 0]
        return mean_pool(states_NTH, mask_NT)


def run(
    transformer: Any, ids_NT: Tensor, mask_NT: Tensor, scored: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Every hidden state of a transformer, and of a BERT its scores where asked for."""
    with _heard(transformer if scored else None) as scores:
        states = transformer(
            input_ids=ids_NT, attention_mask=mask_NT, output_hidden_states=True
        ).hidden_states
    return tuple(states), tuple(scores())


@contextmanager
def _heard(bert: Any | None) -> Iterator[Any]:
    """While the block runs, what a BERT's layers ask of one another is heard: QKᵀ/√d, by head.

    transformers itself tells attention after its softmax alone.
    """
    if bert is None:
        yield lambda: []
        return
    heard: dict[tuple[int, str], Tensor] = {}
    heads, hooks = bert.config.num_attention_heads, []

    def keep(place: tuple[int, str]) -> Any:
        return lambda module, given, found: heard.__setitem__(place, found)

    for layer, block in enumerate(bert.encoder.layer):
        for part in ("query", "key"):
            linear = getattr(block.attention.self, part)
            hooks.append(linear.register_forward_hook(keep((layer, part))))

    def scores() -> Iterator[Tensor]:
        for layer in range(len(bert.encoder.layer)):
            query, key = (
                heard[layer, part].unflatten(-1, (heads, -1)).transpose(1, 2)
                for part in ("query", "key")
            )
            yield query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5

    try:
        yield scores
    finally:
        for hook in hooks:
            hook.remove()


def config_of(body: BodySpec, encoder: EncoderSpec, dropout: float = 0.0) -> BertConfig:
    """The shape of a body. Raises ConfigError where the model's config is not at hand."""
    config = BertConfig.from_dict(models.config(encoder.model, encoder.weights))
    config.num_hidden_layers = len(blocks(body, encoder))
    config.hidden_size = body.width or config.hidden_size
    config.intermediate_size = body.intermediate or config.intermediate_size
    config.num_attention_heads = body.heads or config.num_attention_heads
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    config.use_cache = False
    return config


def empty(body: BodySpec, encoder: EncoderSpec, classes: int, dropout: float = 0.0) -> Body:
    """A body without values of its own, on whatever device is torch's default."""
    config = config_of(body, encoder, dropout)
    return Body(BertModel(config, add_pooling_layer=False), classes, body.pooling)


def size(module: nn.Module) -> int:
    """How many numbers it has."""
    return sum(parameter.numel() for parameter in module.parameters())


N = TypeVar("N", bound=Net)


def begun(net: N, start: str, layers: Sequence[int], seed: int, source: Any) -> N:
    """A net that was made without values, with those that it has before training.

    What is drawn hangs on the seed alone. `start`: as BodySpec has it. `layers`: which of the
    source's its body has. `source`: the transformer that it is cut from, as `load` gives it.
    """
    net.to_empty(device="cpu")
    (made,) = (part for part in net.modules() if isinstance(part, Body))
    bert = made.transformer
    # BERT's buffers: positions 0, 1 …, and token types of 0.
    bert.embeddings.position_ids = torch.arange(bert.config.max_position_embeddings).unsqueeze(0)
    bert.embeddings.token_type_ids = torch.zeros_like(bert.embeddings.position_ids)
    net.draw(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        if start == "base":
            bert.embeddings.load_state_dict(source.embeddings.state_dict())
            for own, layer in zip(bert.encoder.layer, layers, strict=True):
                own.load_state_dict(source.encoder.layer[layer].state_dict())
        elif start == "pca":
            _project(bert.embeddings, source.embeddings)
    return net


def load(encoder: EncoderSpec) -> Any:
    """The transformer that bodies are cut from. Raises ConfigError as `pretrained` does."""
    return pretrained(encoder.model, encoder.max_length, encoder.weights)[1]


@torch.no_grad()
def uniform(module: nn.Module, generator: torch.Generator) -> None:
    """U(±1/√fan_in) for every linear layer, as torch's own start."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            for parameter in part.parameters():
                bound = part.in_features**-0.5
                parameter.uniform_(-bound, bound, generator=generator)


def _project(own: Any, theirs: Any) -> None:
    """Embeddings on the principal components of the model's words, about the words' mean."""
    words_VH = theirs.word_embeddings.weight.double()
    mean_H = words_VH.mean(0)
    _, vectors_HH = torch.linalg.eigh((words_VH - mean_H).T @ (words_VH - mean_H))
    # Ascending order; a component's sign is nobody's choice, so the largest entry is positive.
    top_HW = vectors_HH.flip(1)[:, : own.word_embeddings.embedding_dim]
    largest_W = top_HW.gather(0, top_HW.abs().argmax(0, keepdim=True))
    top_HW = top_HW * largest_W.sign()
    own.word_embeddings.weight.copy_((words_VH - mean_H) @ top_HW)
    for name in ("position_embeddings", "token_type_embeddings"):
        getattr(own, name).weight.copy_(getattr(theirs, name).weight.double() @ top_HW)


def vector(module: nn.Module) -> Tensor:
    """All parameters as one row."""
    return nn.utils.parameters_to_vector(module.parameters()).detach().cpu()


def trained(parts: Sequence[nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter of a net and of what is trained beside it, by a name of its own."""
    return {
        f"{at}.{name}": parameter
        for at, part in enumerate(parts)
        for name, parameter in part.named_parameters()
    }
