"""`python -m bench.teacher`: fine-tuning a teacher on a GPU, and what it makes of the card.

1. Write a model of one of the paper's shapes with random weights, and random texts.  2. Fine-tune
it as `jobs.teacher` does, under ZeRO 0 and 2, and with plain peft and the Hugging Face Trainer,
each in a process of its own.  3. Print tokens/s, the share of the card's arithmetic peak, the
peak memory of the steps after the warm-up, and the tokens/s of the teacher's pass over a split.
"""

import argparse
import importlib.metadata
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import BloomConfig

from bench.families import FAMILIES, on_meta
from bench.fine_tuners import BATCH, Run, Shape, ours, trainer, write
from qdllm import teacher
from qdllm.specs import TeacherSpec

TINY = "tiny"
SHAPES = {
    TINY: Shape(
        BloomConfig(vocab_size=1024, hidden_size=64, n_layer=2, n_head=4),
        length=16,
        warm_up=2,
        window=2,
        windows=3,
    )
} | {name: Shape(family.config) for name, family in FAMILIES.items()}

TRAINER = "peft + Trainer"
CONTENDERS: dict[str, Callable[[Shape, Path], Run]] = {
    "ZeRO 0": partial(ours, zero_stage=0),
    "ZeRO 2": partial(ours, zero_stage=2),
    TRAINER: trainer,
}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "deepspeed")

PEAKS = {
    "A10": 125,
    "A100": 312,
    "B200": 2250,
    "GH200": 989,
    "H100": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "H200": 989,
    "H200 NVL": 835,
    "L4": 121,
    "L40S": 362,
    "RTX 4090": 165,
}
"""Dense bfloat16 TFLOP/s, summed in float32, from NVIDIA's data sheets, by the card's name."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.teacher", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="bloomz-1b1")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="the card's, dense bfloat16")
    arguments = parser.parse_args()
    name, shape, peak = arguments.shape, SHAPES[arguments.shape], arguments.peak
    if peak is not None and not peak > 0:
        parser.error(f"--peak {peak:g} must be above 0")
    # The Trainer would spread a batch over all the cards that it sees.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if torch.cuda.is_available():
        peak = peak or peak_of(torch.cuda.get_device_name())
    elif name != TINY:
        raise SystemExit(
            f"shape {name} needs a CUDA device, and PyTorch {torch.__version__} finds none: run it "
            f"where there is one, or give --shape {TINY}, whose figures are no claim"
        )
    with (
        TemporaryDirectory() as scratch,
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes,
    ):
        processes.submit(write, shape, Path(scratch)).result()
        runs = {
            label: processes.submit(contender, shape, Path(scratch)).result()
            for label, contender in CONTENDERS.items()
        }
    show(name, runs, peak)


def peak_of(card: str) -> float:
    """A card's arithmetic peak in TFLOP/s; ends the program where it is not known."""
    known = [name for name in PEAKS if re.search(rf"\b{name}\b", card)]
    if not known:
        raise SystemExit(
            f"the arithmetic peak of {card!r} is not in the table, which has {', '.join(PEAKS)}: "
            "give it with --peak TFLOPS, for dense bfloat16"
        )
    return PEAKS[max(known, key=len)]


def flop_per_token(shape: Shape) -> int:
    """Arithmetic that fine-tuning needs for one token, forward and back.

    For each frozen weight 2 forward and 2 for the gradient of its input, which is handed on; for
    each of LoRA's 2 more, for its own gradient. For attention's two products 12 for each layer,
    feature and position, masked or not. Norms, softmax, embeddings and the head are left out.
    """
    config = shape.config
    model = on_meta(config, teacher.lora_config(TeacherSpec(), config.model_type))
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    linear = sum((6 if weight.requires_grad else 4) * weight.numel() for weight in weights)
    return linear + 12 * config.num_hidden_layers * config.hidden_size * shape.length


def show(name: str, runs: dict[str, Run], peak: float | None) -> None:
    """What was measured, and a row for each contender."""
    shape, console = SHAPES[name], Console(width=120)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    flop = flop_per_token(shape)
    versions = (f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    console.print(f"{name} on {device}: {', '.join(versions)}")
    console.print(
        f"batch {BATCH} of {shape.length} tokens, bfloat16, {shape.windows} windows of "
        f"{shape.window} steps after {shape.warm_up} to warm up, {flop / 1e9:.4g} GFLOP a token"
        + (f", peak {peak:g} TFLOP/s" if peak else "")
    )
    if name == TINY:
        console.print("This shape proves that the script works; its figures are no claim.")
    table = Table()
    for heading in (
        "",
        "tokens/s",
        "slowest",
        "fastest",
        "× Trainer",
        "of the peak",
        "peak GiB",
        "trained",
        "inference",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for label, run in runs.items():
        rates = [BATCH * shape.length / seconds for seconds in run.step_seconds]
        rate = median(rates)
        ratio = median(runs[TRAINER].step_seconds) / median(run.step_seconds)
        table.add_row(
            label,
            *(f"{each:,.0f}" for each in (rate, min(rates), max(rates))),
            f"{ratio:.2f}",
            f"{rate * flop / (peak * 1e12):.1%}" if peak else "–",
            "–" if run.peak_bytes is None else f"{run.peak_bytes / 2**30:.2f}",
            f"{run.trained:,}",
            "–" if run.inference is None else f"{run.inference:,.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
