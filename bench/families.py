"""`python -m bench.families`: LoRA parameters of the paper's teachers, beside its Table 3.

1. Build each teacher on the meta device, which has shapes and no values, and add LoRA as
`qdllm.teacher` does.  2. Find every rank and set of layers that gives the paper's counts.
"""

from collections.abc import Iterator
from itertools import combinations
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import AutoModel, BloomConfig, LlamaConfig, OPTConfig

from qdllm import teacher
from qdllm.models import LORA_TARGETS
from qdllm.specs import TeacherSpec


class Family(NamedTuple):
    """One of the paper's teachers."""

    title: str
    config: Any
    """Its shape, as its config.json on the Hugging Face hub has it."""
    paper: float
    """LoRA parameters in millions (Table 3)."""


ROUNDING = 5e3
"""The paper prints two decimals of a million."""


FAMILIES = {
    "bloomz-1b1": Family(
        "BLOOMZ-1.1B",
        BloomConfig(vocab_size=250880, hidden_size=1536, n_layer=24, n_head=16),
        29.50,
    ),
    "bloomz-3b": Family(
        "BLOOMZ-3B",
        BloomConfig(vocab_size=250880, hidden_size=2560, n_layer=30, n_head=32),
        61.46,
    ),
    "opt-6.7b": Family(
        "OPT-6.7B",
        OPTConfig(
            vocab_size=50272,
            hidden_size=4096,
            word_embed_proj_dim=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            ffn_dim=16384,
            max_position_embeddings=2048,
        ),
        104.89,
    ),
    "llama2-7b": Family(
        "LLaMA2-7B",
        LlamaConfig(
            vocab_size=32000,
            hidden_size=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            intermediate_size=11008,
            max_position_embeddings=4096,
        ),
        157.32,
    ),
    "llama3-8b": Family(
        "LLaMA3-8B",
        LlamaConfig(
            vocab_size=128256,
            hidden_size=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=14336,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        ),
        118.00,
    ),
}

READING_RANK, READING_OUTPUTS = 200, 8
READING_LAYERS = {
    "bloom": ("query_key_value",),
    "opt": ("q_proj", "v_proj"),
    "llama": ("q_proj", "k_proj", "v_proj"),
}
"""What gives the paper's counts: LoRA on these layers, and a head without bias."""
OUTPUTS = range(33)
"""The heads that `readings` tries."""


def on_meta(config: Any, lora: LoraConfig | None = None) -> nn.Module:
    """A transformer without head and without weights, with LoRA if it is given."""
    with torch.device("meta"):
        transformer = AutoModel.from_config(config)
        return transformer if lora is None else inject_adapter_in_model(lora, transformer)


def parameters(config: Any) -> int:
    """Parameters of the language model, its output layer included."""
    output = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return output + sum(tensor.numel() for tensor in on_meta(config).parameters())


def lora_parameters(config: Any, rank: int, layers: tuple[str, ...] | None = None) -> int:
    """Parameters of LoRA on these layers of every block, or on those that `qdllm.teacher` takes."""
    lora = teacher.lora_config(TeacherSpec(rank=rank), config.model_type)
    if layers is not None:
        lora.target_modules = set(layers)
    named = on_meta(config, lora).named_parameters()
    return sum(tensor.numel() for name, tensor in named if "lora_" in name)


def readings(family: Family) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Every (rank, head's outputs, layers) that rounds to the paper's count.

    Searches all ranks, all sets of a block's linear layers, and all heads of OUTPUTS.
    """
    config = family.config
    kinds = LORA_TARGETS[config.model_type]
    per_rank = {kind: lora_parameters(config, 1, (kind,)) for kind in kinds}
    for count in range(1, len(kinds) + 1):
        for layers in combinations(kinds, count):
            size = sum(per_rank[kind] for kind in layers)
            for outputs in OUTPUTS:
                left = family.paper * 1e6 - outputs * config.hidden_size
                ranks = range(ceil((left - ROUNDING) / size), floor((left + ROUNDING) / size) + 1)
                yield from ((rank, outputs, layers) for rank in ranks)


def fit_all() -> set[tuple[int, int]]:
    """The ranks and heads that, each family choosing its layers, give all counts of the paper."""
    found = ({reading[:2] for reading in readings(family)} for family in FAMILIES.values())
    return set.intersection(*found)


def table() -> str:
    """All counts, as Markdown; M stands for a million."""
    rows = [
        "| teacher | hidden size | layers | parameters | LoRA here | LoRA in the paper "
        f"| rank {READING_RANK} on | gives | at rank 64 |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|",
    ]
    for family in FAMILIES.values():
        config = family.config
        layers = READING_LAYERS[config.model_type]
        head = READING_OUTPUTS * config.hidden_size
        cells = (
            family.title,
            f"{config.hidden_size:,}",
            config.num_hidden_layers,
            f"{parameters(config):,}",
            millions(lora_parameters(config, 64)),
            millions(family.paper * 1e6),
            ", ".join(f"`{layer}`" for layer in layers),
            millions(lora_parameters(config, READING_RANK, layers) + head),
            millions(lora_parameters(config, 64, layers) + head),
        )
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def millions(count: float) -> str:
    """As the paper prints it."""
    return f"{count / 1e6:.2f} M"


if __name__ == "__main__":
    print(table())
    for rank, outputs in sorted(fit_all()):
        print(f"\nFits all five: rank {rank} and a head of {outputs} outputs")
