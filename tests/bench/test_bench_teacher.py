import os
import re
import subprocess
import sys

import pytest
import torch
from checkout import ROOT
from torch.utils.flop_counter import FlopCounterMode
from waiting import DEADLINE

from bench.families import on_meta
from bench.fine_tuners import BATCH, Clock, read, write
from bench.teacher import CONTENDERS, SHAPES, TINY, TRAINER, flop_per_token, peak_of
from qdllm import teacher
from qdllm.encoder import pretrained, tokenize
from qdllm.specs import TeacherSpec


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, where there is no GPU."""
    return subprocess.run(
        [sys.executable, "-m", "bench.teacher", *arguments],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.slow
def test_the_tiny_shape_runs_every_contender():
    done = bench("--shape", TINY, "--peak", "0.001")
    assert done.returncode == 0, done.stderr
    rows = [re.split(r" *│ *", line)[1:-1] for line in done.stdout.splitlines() if "│" in line]
    assert [row[0] for row in rows] == list(CONTENDERS)
    for label, rate, slowest, fastest, ratio, share, memory, _, inference in rows:
        low, middle, high = (float(cell.replace(",", "")) for cell in (slowest, rate, fastest))
        assert 0 < low <= middle <= high
        assert float(ratio) > 0
        assert share.endswith("%")
        assert memory == "–"
        assert inference == "–" if label == TRAINER else float(inference.replace(",", "")) > 0
    # The two heads differ by a bias for each class.
    trained = [int(row[-2].replace(",", "")) for row in rows]
    assert trained[0] == trained[1] == trained[2] + 2


def test_a_real_shape_needs_a_gpu():
    done = bench()
    assert done.returncode == 1
    assert re.fullmatch(
        r"shape bloomz-1b1 needs a CUDA device, and PyTorch \S+ finds none: run it where there is "
        r"one, or give --shape tiny, whose figures are no claim\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_the_peak_is_the_cards(card, peak):
    assert peak_of(card) == peak


def test_an_unknown_card_needs_its_peak_from_the_user():
    with pytest.raises(SystemExit, match=r"'NVIDIA A10G' is not in the table.*--peak"):
        peak_of("NVIDIA A10G")


@pytest.mark.parametrize("name", ["bloomz-1b1", "bloomz-3b"])
def test_the_arithmetic_is_what_torch_counts(name):
    """Within a per cent: the first block's input, an embedding, needs no gradient."""
    shape = SHAPES[name]
    lora = teacher.lora_config(TeacherSpec(), shape.config.model_type)
    model = teacher.Classifier(on_meta(shape.config, lora), 2, torch.float32).to("meta")
    tokens_NT = torch.zeros(BATCH, shape.length, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(tokens_NT, torch.ones_like(tokens_NT)).sum().backward()
    counted = counter.get_total_flops() / tokens_NT.numel()
    assert flop_per_token(shape) == pytest.approx(counted, rel=0.01)


def test_an_epoch_of_the_texts_is_the_shapes_steps(tmp_path):
    shape = SHAPES[TINY]
    write(shape, tmp_path)
    spec, dataset = read(shape, tmp_path)
    assert dataset.sizes[0] == shape.steps * BATCH
    tokenizer, _ = pretrained(spec.model, spec.max_length)
    assert {len(ids) for ids in tokenize(tokenizer, dataset.texts, 1000)} == {shape.length}


def test_the_clock_leaves_the_warm_up_out_and_misses_no_window():
    shape = SHAPES[TINY]
    clock = Clock(shape)
    for done in range(1, shape.steps + 1):
        clock.tick(done)
    assert len(clock.run(0).step_seconds) == shape.windows
    late = Clock(shape)
    late.tick(shape.steps)
    with pytest.raises(AssertionError, match="not told"):
        late.run(0)
