"""Bodies: their sizes to the last digit, what they copy, and what attention scores."""

import numpy as np
import pytest
import readings
import tiny_models
import torch
from torch import nn
from transformers import BertConfig, BertModel

from qdllm.encoder import Encoder, pretrained
from qdllm.families import families, family
from qdllm.families.textrcnn import TextRcnnSpec
from qdllm.rivals import bodies, inference, recurrent, tree
from qdllm.rivals.specs import BodySpec, blocks, last, skip
from qdllm.specs import EncoderSpec


def weights(layers: int, width: int, inner: int, pooled: bool) -> int:
    """Of BERT with its own vocabulary and twelve heads, without memory for them."""
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=inner,
        num_attention_heads=12,
    )
    with torch.device("meta"):
        return bodies.size(BertModel(config, add_pooling_layer=pooled))


@pytest.mark.parametrize(
    ("layers", "width", "inner", "pooled", "count"),
    [
        (4, 312, 1200, True, 14_350_248),  # TinyBERT
        (12, 384, 1536, True, 33_360_000),  # MiniLM-L12-H384, which the paper calls MiniLLM
        (4, 768, 3072, False, 52_188_672),  # DistilBERT and PKD, of four layers
    ],
)
def test_table_3_of_the_paper_counts_these_bodies(layers, width, inner, pooled, count):
    assert weights(layers, width, inner, pooled) == count


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("hard", 2, 17_242_754),
        ("pkd", 2, 17_242_754),
        ("distilbert", 2, 17_242_754),
        ("minillm", 2, 17_242_754),
        ("kl", 4, 17_243_524),
        ("tinybert", 2, 7_294_274),
        ("lsfls", 2, 22_565_376 + 770),
        # The body without a head, a projection from 384 to 768, a mix, two MLPs with four norms,
        # and three readouts.
        ("hitin", 2, 22_565_376 + 295_680 + 6 + 2 * (2 * 590_592 + 2 * 1536) + 3 * 1538),
        ("textrcnn", 2, 30_522 * 384 + 5_000 + 38_400 + 100 + 100 * 485 + 202),
    ],
)
def test_our_bodies_have_as_many(name, classes, count):
    found = family(name)
    assert found.parameters(found.spec(), 128, classes) == count


@pytest.mark.parametrize("classes", [2, 4])
def test_lais_net_and_the_others_text_encoder_have_their_authors_counts(classes):
    words = {"start": "random", "width": 50}
    spec = TextRcnnSpec.parse({"words": words})
    count = 25_200 + 101 * classes + 50 * 30_522
    assert family("textrcnn").parameters(spec, 128, classes) == count
    gated = recurrent.Gated(10, 300, classes, 0.0)
    assert bodies.size(gated) == 256_044 + 10 * 300 + 301 * classes


@pytest.mark.parametrize(("classes", "count"), [(2, 1_211_916), (4, 1_215_008)])
def test_hitins_head_has_its_authors_count(classes, count):
    assert bodies.size(tree.Tree(300, 512, 2, classes, 0.5)) == count


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_every_label_has_the_same_place_in_the_tree(classes, height):
    found = tree.levels(classes, height)
    assert len(found) == height
    assert len(found[-1]) == 1
    below = classes
    for nodes in found:
        children = [child for node in nodes for child in node]
        assert sorted(children) == list(range(below)), "each node below has one parent"
        assert len({len(node) for node in nodes}) == 1
        below = len(nodes)
    if classes == 2 and height > 1:
        assert len(found[0]) == 1
    if classes > 2:
        assert all(len(nodes) == classes for nodes in found[:-1])


def test_pairs_are_those_of_pkds_authors():
    assert skip(6, 12) == ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))
    assert last(6, 12) == ((1, 7), (2, 8), (3, 9), (4, 10), (5, 11))
    assert last(3, 12) == ((1, 10), (2, 11))
    assert skip(4, 12) == ((1, 3), (2, 6), (3, 9))
    assert skip(3, 6) == ((1, 2), (2, 4))


ENCODER = EncoderSpec()


@pytest.fixture(scope="module")
def source():
    return bodies.load(ENCODER)


def built(body: BodySpec, source, encoder: EncoderSpec = ENCODER, seed: int = 3):
    with torch.device("meta"):
        net = bodies.empty(body, encoder, 2)
    return bodies.begun(net, body.start, blocks(body, encoder), seed, source).eval()


def test_a_body_copies_the_layers_that_are_named(source):
    made = built(BodySpec(layers=(0, 2, 5)), source)
    own, theirs = made.transformer.encoder.layer, source.encoder.layer
    for layer, copied in zip(own, (0, 2, 5), strict=True):
        for name, tensor in layer.state_dict().items():
            assert torch.equal(tensor, theirs[copied].state_dict()[name]), name
    for name, tensor in made.transformer.embeddings.state_dict().items():
        assert torch.equal(tensor, source.embeddings.state_dict()[name]), name


def test_a_body_with_all_layers_reads_as_the_frozen_encoder_does(source):
    made = built(BodySpec(layers=tuple(range(6))), source)
    texts = ["a cold wind from the north", "shares fell"]
    from qdllm.rivals.reading import reader

    ids_NT = reader(ENCODER)(texts)
    with torch.no_grad():
        said = made(*inference.padded(ids_NT))
        pooled_NH = made.pool(said.states[-1], (ids_NT >= 0).long())
    np.testing.assert_allclose(pooled_NH, Encoder(ENCODER)(texts), atol=2e-6)
    assert len(said.states) == 7


def test_principal_components_keep_what_they_can(source):
    body = BodySpec(layers=(0, 1, 2), start="pca", width=192, intermediate=768)
    own_VW = built(body, source).transformer.embeddings.word_embeddings.weight.detach().double()
    words_VH = source.embeddings.word_embeddings.weight.detach().double()
    kept, largest = own_VW.square().sum(), torch.linalg.svdvals(words_VH - words_VH.mean(0))[:192]
    assert kept.item() == pytest.approx(largest.square().sum().item(), rel=1e-6)


def test_what_is_drawn_hangs_on_the_seed(source):
    body = BodySpec(layers=(0,), start="random", width=24, intermediate=24)
    first, again, other = (bodies.vector(built(body, None, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scores_are_those_of_attention_made_by_hand():
    _, bert = pretrained(readings.tiny(), 16)
    ids_NT = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    mask_NT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        states, scores = bodies.run(bert, ids_NT, mask_NT, True)
        for layer, (given, found) in enumerate(zip(states[:-1], scores, strict=True)):
            attention = bert.encoder.layer[layer].attention.self
            query, key = (
                (given @ part.weight.T + part.bias).numpy()
                for part in (attention.query, attention.key)
            )
            heads, width = 2, tiny_models.HIDDEN // 2
            for row in range(2):
                for head in range(heads):
                    mine = slice(head * width, (head + 1) * width)
                    expected = query[row][:, mine] @ key[row][:, mine].T / width**0.5
                    np.testing.assert_allclose(found[row, head], expected, atol=1e-5)


def numpys(net: recurrent.Lai, words_TE: np.ndarray) -> np.ndarray:
    """Equations 1 to 5 of Lai et al., word by word."""
    length, context = len(words_TE), net.first.shape[1]
    along, beside, first = (part.detach().numpy() for part in (net.along, net.beside, net.first))
    left, right = np.zeros((2, length, context))
    left[0], right[-1] = first
    for at in range(1, length):
        left[at] = np.tanh(along[0] @ left[at - 1] + beside[0] @ words_TE[at - 1])
    for at in range(length - 2, -1, -1):
        right[at] = np.tanh(along[1] @ right[at + 1] + beside[1] @ words_TE[at + 1])
    both = np.concatenate([left, words_TE, right], -1)
    hidden = np.tanh(both @ net.hidden.weight.detach().numpy().T + net.hidden.bias.detach().numpy())
    return hidden.max(0)


def test_lais_recurrence_is_the_loop_of_its_equations():
    net = recurrent.Lai(30, 5, 4, 6, 3, 0.0).eval()
    net.draw(torch.Generator().manual_seed(0))
    ids_NT = torch.tensor([[7, 3, 9, 2, 20], [4, 11, -1, -1, -1], [8, -1, -1, -1, -1]])
    found_NC = inference.logits(net, ids_NT).numpy()
    words = net.words.weight.detach().numpy()
    for row, ids in enumerate(ids_NT.numpy()):
        read = numpys(net, words[ids[ids >= 0]])
        expected = net.head.weight.detach().numpy() @ read + net.head.bias.detach().numpy()
        np.testing.assert_allclose(found_NC[row], expected, atol=1e-6)


@pytest.mark.parametrize("form", ["lai", "hiagm"])
def test_a_recurrent_net_begins_as_wide_as_torchs_own_layers(form):
    net = (
        recurrent.Lai(30, 90, 60, 80, 3, 0.0) if form == "lai" else recurrent.Gated(30, 90, 3, 0.0)
    )
    net.draw(torch.Generator().manual_seed(0))
    drawn = {name: one.detach().abs().max().item() for name, one in net.named_parameters()}
    if form == "lai":
        bounds = {"along": 60**-0.5, "beside": 90**-0.5, "first": 60**-0.5}
    else:
        bounds = {}
    for place, part in net.named_modules():
        if place not in ("", "words") and hasattr(part, "reset_parameters"):
            torch.manual_seed(0)
            part.reset_parameters()
            bounds |= {
                f"{place}.{name}": one.detach().abs().max().item()
                for name, one in part.named_parameters()
            }
    assert drawn.keys() == bounds.keys() | {"words.weight"}
    for name, bound in bounds.items():
        # The largest of a few is less near the bound than that of many.
        assert drawn[name] == pytest.approx(bound, rel=0.6 if "head.bias" in name else 0.1), name


@pytest.mark.parametrize("form", ["lai", "hiagm"])
def test_a_texts_logits_do_not_depend_on_the_texts_beside_it(form):
    net = recurrent.Lai(30, 5, 4, 6, 3, 0.0) if form == "lai" else recurrent.Gated(30, 5, 3, 0.0)
    net.draw(torch.Generator().manual_seed(0))
    ids_NT = torch.tensor([[7, 3, 9, 2, 20], [4, 11, -1, -1, -1], [8, -1, -1, -1, -1]])
    whole = inference.logits(net, ids_NT)
    for row in range(3):
        alone = inference.logits(net, ids_NT[row : row + 1])
        np.testing.assert_allclose(alone[0], whole[row], atol=1e-6)


def test_every_rival_that_the_paper_prints_has_its_papers_name():
    named = {one.paper for one in families().values()} - {""}
    assert named >= {"TinyBERT", "MiniLLM", "DistilBERT", "PKD", "QD-LLM"}


def spread(head: nn.Module) -> None:
    """Weights, and running statistics of norms, that are all drawn."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for part in head.modules():
            if isinstance(part, tree.Norm):
                part.running_mean.copy_(torch.randn(part.num_features, generator=generator))
                part.running_var.copy_(0.2 + torch.rand(part.num_features, generator=generator))


def by(linear: nn.Linear, value_I: np.ndarray) -> np.ndarray:
    return linear.weight.detach().numpy() @ value_I + linear.bias.detach().numpy()


def normed(norm: tree.Norm, value_H: np.ndarray) -> np.ndarray:
    """As batch norm is in inference (Ioffe and Szegedy, algorithm 2)."""
    weight, bias, mean, variance = (
        tensor.detach().numpy()
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    return weight * (value_H - mean) / np.sqrt(variance + 1e-5) + bias


@pytest.mark.parametrize("classes", [2, 3])
def test_hitins_tree_is_read_at_every_level(classes):
    """Text by text and node by node, on the tree as it is drawn in the paper for so many labels."""
    head = tree.Tree(5, 4, 2, classes, 0.3).double().eval()
    spread(head)
    text_NH = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = {2: [[[0, 1]], [[0]]], 3: [[[0], [1], [2]], [[0, 1, 2]]]}[classes]
    wanted_NC = []
    for text_H in text_NH.numpy():
        text_V = by(head.project, text_H)
        mixed_CV = np.stack([by(head.mix, np.full(classes, value)) for value in text_V], 1)
        nodes = list(mixed_CV)
        logits_C = by(head.read[0], sum(nodes))
        for level, parents in enumerate(drawn):
            first, inner, _, second = head.rise[level]
            sums = [sum(nodes[child] for child in children) for children in parents]
            raised = [by(second, np.maximum(normed(inner, by(first, one)), 0)) for one in sums]
            nodes = [np.maximum(normed(head.norms[level], one), 0) for one in raised]
            logits_C = logits_C + by(head.read[level + 1], sum(nodes))
        wanted_NC.append(logits_C)
    np.testing.assert_allclose(head(text_NH).detach().numpy(), wanted_NC, rtol=1e-9)


def test_folded_norms_say_what_batch_norms_say(source):
    body = built(BodySpec(layers=(0,)), source)
    net = tree.Planted(body, tree.Tree(body.width, 4, 2, 3, 0.3))
    spread(net.body.head)
    ids_NT = torch.tensor([[101, 2054, 2003, 102], [101, 2009, 102, 0]])
    mask_NT = (ids_NT > 0).long()
    with torch.no_grad():
        said, still = (one.eval()(ids_NT, mask_NT).logits_NC for one in (net, net.still()))
    np.testing.assert_allclose(still.numpy(), said.numpy(), rtol=1e-4)
