"""The contenders: each fine-tunes the same model on the same texts, and times its own steps.

Each needs a process of its own: what DeepSpeed and CUDA hold is given back only at its end.
"""

import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from peft import TaskType, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from jobs.fine_tune import fine_tune, sharded_logits
from jobs.zero import CLIP, device, join_group
from qdllm import teacher
from qdllm.encoder import tokenize
from qdllm.specs import TaskSpec, TeacherSpec
from qdllm.texts import data

BATCH = 16
PAD = "[PAD]"
WORDS = [f"w{number}" for number in range(1000)]
SPLIT = (0.8, 0.1, 0.1)


class Shape(NamedTuple):
    """A model, and how it is measured."""

    config: Any
    length: int = 128
    """Tokens of every text."""
    warm_up: int = 20
    window: int = 20
    """Steps that are timed together: only at their end is the device waited for."""
    windows: int = 10

    @property
    def steps(self) -> int:
        return self.warm_up + self.window * self.windows


class Run(NamedTuple):
    """What a contender's process found."""

    step_seconds: list[float]
    """Seconds per step, of each window."""
    peak_bytes: int | None
    """The most that tensors held on the device after the warm-up; None on a CPU."""
    trained: int
    """Trainable parameters."""
    inference: float | None = None
    """Tokens/s of the teacher loaded again, over the train split; None where nothing asks it."""


class Clock:
    """Times windows of steps once the warm-up is over."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._began = 0.0
        self._step_seconds: list[float] = []
        self._peak_bytes: int | None = None

    def tick(self, done: int) -> None:
        """To be called after every step, with the number of steps done."""
        timed = done - self._shape.warm_up
        if timed < 0 or timed % self._shape.window:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self._peak_bytes = torch.cuda.max_memory_allocated()
        if timed:
            self._step_seconds.append((time.perf_counter() - self._began) / self._shape.window)
        elif torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._began = time.perf_counter()

    def run(self, trained: int, inference: float | None = None) -> Run:
        """The result, after all steps."""
        assert len(self._step_seconds) == self._shape.windows, "some steps were not told"
        return Run(self._step_seconds, self._peak_bytes, trained, inference)


def write(shape: Shape, folder: Path) -> None:
    """Random weights and a tokenizer as a downloaded model would lie there, and random texts.

    The texts are of one length, in two classes, and as many as an epoch of the shape's steps needs.
    """
    shape.config.pad_token_id = 0
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModel.from_config(shape.config, dtype=torch.bfloat16)
    model.save_pretrained(folder / "model")
    vocabulary = {word: number for number, word in enumerate((PAD, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD)
    fast.save_pretrained(folder / "model")
    rows = round(shape.steps * BATCH / SPLIT[0])
    drawn = np.random.default_rng(0).choice(WORDS, (rows, shape.length))
    lines = [f"{' '.join(text)},{'ab'[row % 2]}" for row, text in enumerate(drawn)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")


def read(
    shape: Shape, folder: Path, zero_stage: Literal[0, 2] = 0
) -> tuple[TeacherSpec, data.Dataset]:
    """What `write` wrote, as the jobs are given it."""
    spec = TeacherSpec(
        model=str(folder / "model"),
        epochs=1,
        batch_size=BATCH,
        lr=1e-4,
        max_length=shape.length,
        precision="bfloat16",
        zero_stage=zero_stage,
    )
    return spec, data.load(TaskSpec(data=str(folder / "texts.csv"), split=SPLIT))


def ours(shape: Shape, folder: Path, zero_stage: Literal[0, 2]) -> Run:
    """`jobs.fine_tune`: DeepSpeed, all in bfloat16."""
    spec, dataset = read(shape, folder, zero_stage)
    join_group()
    clock = Clock(shape)

    def tell(phase: str, done: int, total: int, note: str) -> None:
        if phase == "teacher":
            clock.tick(done)

    course = fine_tune(spec, dataset, tell)
    tokenizer, model = teacher.reload(spec, len(dataset.classes), course.adapter)
    model.to(device())
    sharded_logits(spec, model, tokenizer, dataset.test.texts)
    began = time.perf_counter()
    sharded_logits(spec, model, tokenizer, dataset.train.texts)
    inference = len(dataset.train.texts) * shape.length / (time.perf_counter() - began)
    return clock.run(sum(tensor.numel() for tensor in course.adapter.values()), inference)


def trainer(shape: Shape, folder: Path) -> Run:
    """Plain peft under the Hugging Face Trainer, in its usual mixed precision.

    That is bfloat16 for the frozen weights, float32 for LoRA's, as peft has it by default, and
    autocast to bfloat16.
    """
    spec, dataset = read(shape, folder)
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    tokens = tokenize(tokenizer, dataset.train.texts, spec.max_length)
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(tokens, dataset.train.labels_N.tolist(), strict=True)
    ]
    base = AutoModelForSequenceClassification.from_pretrained(
        spec.model, num_labels=len(dataset.classes), dtype=torch.bfloat16
    )
    base.config.use_cache = False
    lora = teacher.lora_config(spec, base.config.model_type)
    lora.task_type = TaskType.SEQ_CLS
    model = get_peft_model(base, lora)
    clock = Clock(shape)

    class Ticks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.tick(state.global_step)

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=spec.batch_size,
        num_train_epochs=spec.epochs,
        learning_rate=spec.lr,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup,
        max_grad_norm=CLIP,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows, callbacks=[Ticks()]).train()
    return clock.run(model.get_nb_trainable_parameters()[0])
