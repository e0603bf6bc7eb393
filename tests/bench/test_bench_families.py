from itertools import combinations

import pytest
from checkout import ROOT
from tiny_models import save
from torch import nn
from transformers import AutoConfig

from bench.families import (
    FAMILIES,
    READING_LAYERS,
    READING_OUTPUTS,
    READING_RANK,
    fit_all,
    lora_parameters,
    millions,
    on_meta,
    parameters,
    readings,
    table,
)
from qdllm import teacher
from qdllm.specs import TeacherSpec

DOCS = ROOT / "docs" / "teachers.md"

# OPT's authors print no more digits.
PUBLISHED = {
    "bloomz-1b1": 1_065_314_304,
    "bloomz-3b": 3_002_557_440,
    "opt-6.7b": pytest.approx(6.7e9, abs=0.05e9),
    "llama2-7b": 6_738_415_616,
    "llama3-8b": 8_030_261_248,
}

# 200 times the sum of inputs and outputs, in units of the hidden size.
PER_LAYER = {
    "bloomz-1b1": 800,
    "bloomz-3b": 800,
    "opt-6.7b": 800,
    "llama2-7b": 1200,
    "llama3-8b": 900,
}


@pytest.fixture(scope="module")
def found():
    return {
        name: {(rank, outputs, frozenset(layers)) for rank, outputs, layers in readings(family)}
        for name, family in FAMILIES.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_have_the_sizes_that_their_authors_publish(name):
    assert parameters(FAMILIES[name].config) == PUBLISHED[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_goes_to_every_linear_layer(name):
    """A pair of matrices for each, rank × inputs and outputs × rank."""
    config = FAMILIES[name].config
    linear = [layer for layer in on_meta(config).modules() if isinstance(layer, nn.Linear)]
    expected = sum(64 * (layer.in_features + layer.out_features) for layer in linear)
    assert lora_parameters(config, 64) == expected


@pytest.mark.parametrize("family", ["bloom", "llama", "opt"])
def test_lora_is_the_teachers_own(family, tmp_path):
    spec = TeacherSpec(model=save(family, tmp_path), max_length=16)
    _, model = teacher.build(spec, 2)
    built = {name: tuple(tensor.shape) for name, tensor in teacher.trainable(model).items()}
    lora = teacher.lora_config(spec, family)
    counted = teacher.trainable(on_meta(AutoConfig.from_pretrained(tmp_path), lora))
    shapes = {f"transformer.{name}": tuple(tensor.shape) for name, tensor in counted.items()}
    assert built.keys() - shapes.keys() == {"head.weight", "head.bias"}
    assert shapes.items() <= built.items()


@pytest.mark.parametrize("name", FAMILIES)
def test_rank_200_gives_the_papers_counts(name, found):
    family = FAMILIES[name]
    config, layers = family.config, READING_LAYERS[family.config.model_type]
    count = lora_parameters(config, READING_RANK, layers) + READING_OUTPUTS * config.hidden_size
    per_layer = PER_LAYER[name] * config.hidden_size
    assert count == 8 * config.hidden_size + per_layer * config.num_hidden_layers
    assert millions(count) == millions(family.paper * 1e6)
    assert (READING_RANK, READING_OUTPUTS, frozenset(layers)) in found[name]


def test_one_rank_and_head_fit_all_five_and_rank_64_fits_none(found):
    assert fit_all() == {(READING_RANK, READING_OUTPUTS)}
    assert not {rank for each in found.values() for rank, _, _ in each} & {64, 3 * 64}


def test_the_layers_that_fit_are_those_that_the_page_names(found):
    fit = {
        name: {layers for *pair, layers in each if pair == [200, 8]} for name, each in found.items()
    }
    assert fit["bloomz-1b1"] == fit["bloomz-3b"] == {frozenset({"query_key_value"})}
    attention = ("q_proj", "k_proj", "v_proj", "out_proj")
    assert fit["opt-6.7b"] == set(map(frozenset, combinations(attention, 2)))
    assert fit["llama2-7b"] & fit["llama3-8b"] == {
        frozenset({"q_proj", "k_proj", "v_proj"}),
        frozenset({"k_proj", "v_proj", "o_proj"}),
    }


def test_the_page_shows_the_table():
    text = DOCS.read_text(encoding="utf-8")
    assert table() in text
    ratios = [
        lora_parameters(family.config, 64) / (family.paper * 1e6) for family in FAMILIES.values()
    ]
    more = [round(100 * ratio) - 100 for ratio in (min(ratios), max(ratios))]
    assert f"between {more[0]} and {more[1]} % more parameters" in text
