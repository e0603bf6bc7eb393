"""The teacher: a language model with LoRA (equations 1 to 3) that gives `logits_NC` for texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from peft import (
    LoraConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from qdllm.batches import scheduled
from qdllm.encoder import Counted, mean_pool, padded, pretrained, tokenize
from qdllm.errors import TeacherError
from qdllm.models import LORA_TARGETS
from qdllm.specs import TeacherSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

PEFT = "base_model.model."
"""What stands before a transformer's own names in every adapter that peft writes."""


class Classifier(nn.Module):
    """A transformer, pooled over tokens, and a linear head to the classes.

    Encoders, trained to fill gaps, are pooled by the mean over tokens; decoders by the last token,
    the only one that has seen the whole text.
    """

    def __init__(self, transformer: Any, classes: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.transformer = transformer
        self.head = nn.Linear(transformer.config.hidden_size, classes, dtype=dtype)
        self.pooled_by_mean = transformer.config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """logits_NC in float32, for tokens padded on the right."""
        states_NTH = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return self.classify(self.pool(states_NTH, attention_mask))

    def pool(self, states_NTH: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """A vector for each text, as the head reads it."""
        if self.pooled_by_mean:
            return mean_pool(states_NTH, attention_mask)
        rows = torch.arange(len(states_NTH), device=states_NTH.device)
        return states_NTH[rows, attention_mask.sum(1) - 1]

    def classify(self, pooled_NH: torch.Tensor) -> torch.Tensor:
        """logits_NC in float32."""
        logits_NC: torch.Tensor = self.head(pooled_NH).float()
        return logits_NC


def build(spec: TeacherSpec, classes: int) -> tuple[Any, Classifier]:
    """Tokenizer and a teacher that is not fine-tuned yet; only LoRA and the head are trainable.

    Their initial values depend on the spec's seed alone. Raises ConfigError as `pretrained` does.
    """
    dtype = DTYPES[spec.precision]
    tokenizer, transformer = pretrained(spec.model, spec.max_length, spec.weights, dtype)
    inject_adapter_in_model(lora_config(spec, transformer.config.model_type), transformer)
    model = Classifier(transformer, classes, dtype).to(dtype)
    generator = torch.Generator().manual_seed(spec.seed)
    for name, parameter in trainable(model).items():
        if "lora_A" in name:
            nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
        elif name == "head.weight":
            nn.init.normal_(parameter, std=0.02, generator=generator)
        else:
            nn.init.zeros_(parameter)
    return tokenizer, model


def lora_config(spec: TeacherSpec, model_type: str) -> LoraConfig:
    """LoRA as the spec describes it, on the layers that it goes to in this type of model."""
    targets = LORA_TARGETS.get(model_type)
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.dropout,
        target_modules="all-linear" if targets is None else list(targets),
    )


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """LoRA's and the head's parameters by name: all that fine-tuning changes."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def adapter_of(model: Classifier) -> dict[str, torch.Tensor]:
    """All that fine-tuning changes: LoRA by peft's names, and beside it the head. No copies."""
    # peft would ask the hub whether the vocabulary has grown, which it never does here.
    lora = get_peft_model_state_dict(model.transformer, save_embedding_layers=False)
    head = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    return {PEFT + name: tensor for name, tensor in lora.items()} | head


def load_adapter(model: Classifier, adapter: Mapping[str, torch.Tensor]) -> None:
    """Give a built model the trained values, by the names of `adapter_of` or of the parameters.

    Raises TeacherError where names or shapes differ.
    """
    adapter = {_by_peft(name): tensor for name, tensor in adapter.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter_of(model).items()}
    given = {name: tuple(tensor.shape) for name, tensor in adapter.items()}
    if shapes != given:
        odd = sorted(name for name in shapes | given if shapes.get(name) != given.get(name))
        raise TeacherError(
            f"the adapter does not fit this model: {len(odd)} tensors differ, the first is "
            f"{odd[0]!r}: {given.get(odd[0])} was given, {shapes.get(odd[0])} is needed"
        )
    lora = {name: tensor for name, tensor in adapter.items() if name.startswith(PEFT)}
    told = set_peft_model_state_dict(model.transformer, lora)
    assert not told.unexpected_keys, "peft says nothing of names that it does not know"
    model.head.load_state_dict({name: adapter[f"head.{name}"] for name in ("weight", "bias")})


def _by_peft(name: str) -> str:
    """peft's name of a tensor, which may have its parameter's: stores hold such adapters too."""
    if not name.startswith("transformer."):
        return name
    return PEFT + name.removeprefix("transformer.").replace(".default.weight", ".weight")


def reload(
    spec: TeacherSpec, classes: int, adapter: Mapping[str, torch.Tensor]
) -> tuple[Any, Classifier]:
    """Tokenizer and fine-tuned teacher: a fresh base model with an adapter's values."""
    tokenizer, model = build(spec, classes)
    load_adapter(model, adapter)
    return tokenizer, model.eval()


def learning_rate(spec: TeacherSpec, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then linear decay towards 0."""
    return scheduled(spec.lr, spec.warmup, step, steps)


@torch.no_grad()
def logits(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    *,
    batch_size: int = 32,
    progress: Counted | None = None,
) -> np.ndarray:
    """logits_NC in float32, row n for text n. `model` must be in eval mode."""
    assert not model.training, "dropout would make the logits random"
    device = next(model.parameters()).device
    found: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for batch_rows, batch in padded(tokenizer, tokenize(tokenizer, texts, max_length), batch_size):
        found.append(model(**{name: t.to(device) for name, t in batch.items()}).cpu().numpy())
        rows.append(batch_rows)
        if progress:
            progress(sum(map(len, rows)), len(texts))
    logits_NC = np.concatenate(found)
    logits_NC[np.concatenate(rows)] = logits_NC.copy()
    return logits_NC
