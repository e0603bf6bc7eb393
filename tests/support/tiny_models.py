"""Tiny random models of every family, in folders that look like a downloaded model."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    LlamaConfig,
    LlamaModel,
    OPTConfig,
    OPTModel,
    PreTrainedTokenizerFast,
)

WORDS = "the market price of a bank rose fell team won lost game match star planet gas is on to"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
FAMILIES = ("bert", "bloom", "llama", "opt")
HIDDEN, LAYERS, POSITIONS = 16, 2, 32


def texts_of(count: int, seed: int = 0) -> list[str]:
    """Random texts of 1 to 12 words."""
    generator = torch.Generator().manual_seed(seed)
    words = WORDS.split()

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    return [" ".join(words[draw(len(words))] for _ in range(1 + draw(12))) for _ in range(count)]


def save(family: str, folder: Path) -> str:
    """Write a model of a family with random weights and a tokenizer; returns the folder's name."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS.split()))}
    size = len(vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if family == "bert":
            model = BertModel(
                BertConfig(
                    vocab_size=size,
                    hidden_size=HIDDEN,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=2,
                    intermediate_size=24,
                    max_position_embeddings=POSITIONS,
                )
            )
        elif family == "bloom":
            config = BloomConfig(vocab_size=size, hidden_size=HIDDEN, n_layer=LAYERS, n_head=2)
            model = BloomModel(config)
        elif family == "llama":
            model = LlamaModel(
                LlamaConfig(
                    vocab_size=size,
                    hidden_size=HIDDEN,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    intermediate_size=24,
                    max_position_embeddings=POSITIONS,
                )
            )
        else:
            model = OPTModel(
                OPTConfig(
                    vocab_size=size,
                    hidden_size=HIDDEN,
                    word_embed_proj_dim=HIDDEN,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=2,
                    ffn_dim=24,
                    max_position_embeddings=POSITIONS,
                    pad_token_id=0,
                )
            )
        # Random weights of the usual size make a near-constant function; these tell texts apart.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if family == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        eos_token="[SEP]",
        # Llama's tokenizers come without a padding token.
        pad_token=None if family == "llama" else "[PAD]",
    ).save_pretrained(folder)
    return str(folder)
