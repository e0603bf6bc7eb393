import csv
import gc
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from commands import here
from malicious import Malicious, of_ray
from tiny_models import save, texts_of
from torch import distributed
from torch.nn.functional import cross_entropy

from jobs import fine_tune as module
from jobs import kinds
from jobs import teacher as job
from jobs.checkpoint import Checkpoints, Course
from jobs.fine_tune import fine_tune
from jobs.kinds import Job
from jobs.kinds.teachers import SOFT_LABELS
from jobs.store import Store, record
from jobs.zero import CLIP, join_group
from qdllm import teacher
from qdllm.batches import batches
from qdllm.encoder import pad, tokenize
from qdllm.errors import ConfigError, TeacherError
from qdllm.specs import TaskSpec, TeacherSpec
from qdllm.texts import data

# DeepSpeed itself calls what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


STAGES = (0, 1, 2, 3)
SHORT = {"train": "train", "validation": "val", "test": "test"}
"""What metrics call the splits."""


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskSpec:
    """Two classes that one word tells apart; the train split does not divide into batches."""
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("text", "label"))
        for text in sorted(set(texts_of(150))):
            rows.writerow((text, "finance" if "bank" in text or "price" in text else "other"))
    return TaskSpec(name="tiny", data=str(path))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return save("bert", tmp_path_factory.mktemp("bert"))


def spec_of(base: str, **settings) -> TeacherSpec:
    chosen = {"rank": 2, "lora_alpha": 4, "epochs": 3, "batch_size": 16, "lr": 0.03}
    chosen |= {"dropout": 0, "max_length": 16, "zero_stage": 0}
    return TeacherSpec(model=base, **(chosen | settings))


def plain_torch(spec: TeacherSpec, dataset: data.Dataset) -> list[float]:
    """The mean loss of each epoch, by a loop that knows nothing of DeepSpeed or workers."""
    tokenizer, model = teacher.build(spec, len(dataset.classes))
    tokens = tokenize(tokenizer, dataset.train.texts, spec.max_length)
    labels_N = torch.from_numpy(dataset.train.labels_N)
    parameters = list(teacher.trainable(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
    losses, step = [], 0
    for epoch in range(spec.epochs):
        generator = np.random.default_rng([spec.seed, epoch])
        cut = batches([len(ids) for ids in tokens], spec.batch_size, generator)
        total = 0.0
        for rows in cut:
            optimizer.param_groups[0]["lr"] = teacher.learning_rate(
                spec, step, spec.epochs * len(cut)
            )
            logits_NC = model(**pad([tokens[row] for row in rows], tokenizer.pad_token_id))
            loss = cross_entropy(logits_NC, labels_N[rows], reduction="sum")
            optimizer.zero_grad()
            (loss / spec.batch_size).backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            total, step = total + float(loss.detach()), step + 1
        losses.append(total / len(tokens))
    return losses


def silent(phase: str, done: int, total: int, note: str) -> None:
    pass


def named(task: TaskSpec, spec: TeacherSpec) -> Job[TeacherSpec]:
    return kinds.named(SOFT_LABELS.name, spec, task, data.load(task).digest)


def taught(task: TaskSpec, spec: TeacherSpec, store: Store, progress=None) -> str:
    """Where the store has the teacher's soft labels, once they are there."""
    made = named(task, spec)
    job.run(made, data.load(task), store, progress)
    return made.fingerprint


def test_soft_labels_are_the_saved_teachers_in_the_datasets_order(task, base, tmp_path):
    spec, store, dataset = spec_of(base), Store(str(tmp_path)), data.load(task)
    events = []
    key = taught(task, spec, store, lambda *event: events.append(event))
    record, splits = store.load(SOFT_LABELS.name, key)
    _, adapter = store.load("adapters", record.made_from["adapter"])
    assert {name.split(".")[0] for name in adapter} == {"base_model", "head"}
    tokenizer, model = teacher.reload(
        spec, 2, {name: torch.from_numpy(value) for name, value in adapter.items()}
    )
    for name, logits_NC in splits.items():
        split = getattr(dataset, name)
        expected_NC = teacher.logits(model, tokenizer, split.texts, 16)
        assert logits_NC.dtype == np.float32
        np.testing.assert_allclose(logits_NC, expected_NC, rtol=1e-4, atol=1e-5)
        reached = (expected_NC.argmax(1) == split.labels_N).mean()
        assert record.summary["metrics"][f"{SHORT[name]}.accuracy"] == pytest.approx(reached)
    curve = [point["val.accuracy"] for point in record.summary["curve"]]
    assert len(curve) == 3
    assert record.summary["best_epoch"] == 1 + curve.index(max(curve))
    assert record.summary["metrics"]["val.accuracy"] == pytest.approx(max(curve))
    assert record.summary["classes"] == ["finance", "other"]
    assert record.summary["rows"] == dataset.rows
    steps = 3 * -(-len(dataset.train.texts) // 16)
    assert ("teacher", steps, steps, "epoch 3 of 3") in events
    assert events[-1][:3] == ("soft labels", len(dataset.texts), len(dataset.texts))

    assert taught(task, spec, store, lambda *event: events.append("again")) == key
    assert "again" not in events
    assert store.record(SOFT_LABELS.name, key) == record


@pytest.fixture(scope="module")
def plain_losses(task, base) -> list[float]:
    losses = plain_torch(spec_of(base), data.load(task))
    assert losses[-1] < 0.8 * losses[0]
    return losses


@pytest.mark.parametrize("stage", STAGES)
def test_every_zero_stage_trains_like_plain_torch(task, base, stage, plain_losses):
    join_group()
    linear = torch.nn.functional.linear
    course = fine_tune(spec_of(base, zero_stage=stage), data.load(task), silent)
    losses = [point["train.loss"] for point in course.curve]
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-4)
    assert torch.nn.functional.linear is linear, "whatever comes next is computed in another way"


@pytest.mark.parametrize(
    ("stage", "saving"),
    [
        (0, {"micro_batch_size": 4}),
        (3, {"micro_batch_size": 4}),
        (0, {"gradient_checkpointing": True}),
        (3, {"gradient_checkpointing": True}),
        (2, {"offload": True}),
        (3, {"offload": True}),
    ],
)
def test_saving_memory_changes_no_number(task, base, stage, saving, plain_losses):
    join_group()
    course = fine_tune(spec_of(base, zero_stage=stage, **saving), data.load(task), silent)
    losses = [point["train.loss"] for point in course.curve]
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-4)


def test_zero_3_trains_a_model_too_large_to_stay_whole(task, base, plain_losses, monkeypatch):
    """DeepSpeed gathers weights as they are needed, from 10⁹ parameters on, or so few as here."""
    import deepspeed

    join_group()
    whole = deepspeed.initialize
    limits = {"max_live_parameters": 5000, "max_reuse_distance": 0, "prefetch_bucket_size": 1}
    limits |= {"param_persistence_threshold": 0}

    def initialize(config, **rest):
        config["zero_optimization"] |= {f"stage3_{name}": value for name, value in limits.items()}
        return whole(config=config, **rest)

    monkeypatch.setattr(deepspeed, "initialize", initialize)
    dataset = data.load(task)
    course = fine_tune(spec_of(base, zero_stage=3), dataset, silent)
    losses = [point["train.loss"] for point in course.curve]
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-4)
    tokenizer, model = teacher.reload(spec_of(base), 2, course.adapter)
    logits_NC = teacher.logits(model, tokenizer, dataset.validation.texts, 16)
    np.testing.assert_allclose(logits_NC, course.validation_NC, rtol=1e-4, atol=1e-4)


def alive(sizes: set[int]) -> list[tuple[int, ...]]:
    """Shapes of the tensors in memory that have so many elements."""
    tensors = (it for it in gc.get_objects() if type(it) in (torch.Tensor, torch.nn.Parameter))
    return sorted(tuple(it.shape) for it in tensors if not it.is_meta and it.numel() in sizes)


@pytest.mark.parametrize("stage", STAGES)
def test_the_weights_are_gone_before_the_model_is_loaded_again(task, base, stage):
    """A GPU that holds the model once need not hold it twice."""
    join_group()
    spec, dataset = spec_of(base, epochs=1, zero_stage=stage), data.load(task)
    _, model = teacher.build(spec, 2)
    # Sizes that nothing else has: what is trained is smaller, and under ZeRO 3 flat and larger.
    sizes = {it.numel() for it in model.parameters() if it.numel() > 100}
    assert len(alive(sizes)) > 10
    del model
    gc.collect()
    before = alive(sizes)
    fine_tune(spec, dataset, silent)
    assert alive(sizes) == before


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_trains_and_is_reloaded_within_its_tolerance(task, base, stage, tmp_path):
    spec = spec_of(base, precision="bfloat16", zero_stage=stage)
    key = taught(task, spec, Store(str(tmp_path)))
    curve = Store(str(tmp_path)).record(SOFT_LABELS.name, key).summary["curve"]
    assert curve[-1]["train.loss"] < 0.8 * curve[0]["train.loss"]


class Killed(Exception):
    """Stands for the end of a worker right after a checkpoint."""


def leave(task: TaskSpec, spec: TeacherSpec, store: Store) -> None:
    """Train until a checkpoint inside the second epoch, where a notice asks for one."""
    looks = []

    def leaving() -> bool:
        looks.append(None)
        if len(looks) == 6:
            raise Killed
        return len(looks) == 5

    dataset, checkpoints = data.load(task), Checkpoints(named(task, spec), store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOK_STEPS", 2)
        with pytest.raises(Killed):
            fine_tune(spec, dataset, silent, checkpoints, leaving)


def rank_of_two(
    rank: int, folder: str, task: TaskSpec, specs: list[TeacherSpec], left: list[TeacherSpec]
) -> None:
    """Teach all `specs`, begin with those `left`, and be refused a batch that two cannot share."""
    os.environ["LOCAL_RANK"] = str(rank)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # There may be one GPU, and gloo is for CPUs.
    torch.set_num_threads(1)
    where = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    store = Store(f"{folder}/store")
    for spec in specs:
        taught(task, spec, store)
    for spec in left:
        leave(task, spec, store)
    with pytest.raises(ConfigError) as refused:
        taught(task, specs[0].model_copy(update={"batch_size": 15}), store)
    Path(folder, f"refused by {rank}").write_text(str(refused.value))
    distributed.barrier()
    # Not by way of the interpreter's end, where a thread of gloo's that still wants the GIL aborts
    # the process: torch joins those threads only when DeepSpeed lets go of its groups, at exit.
    os._exit(0)


PASSED_ON = (1, 3)
"""The stages of teachers that begin with as many workers as they do not end with."""


def begun_by_one(base: str, stage: int) -> TeacherSpec:
    return spec_of(base, zero_stage=stage, seed=1)


def begun_by_two(base: str, stage: int) -> TeacherSpec:
    return spec_of(base, zero_stage=stage, seed=2)


@pytest.fixture(scope="module")
def by_two(task, base, tmp_path_factory) -> Store:
    """What two workers make at each stage, one after the other: they take seconds to start.

    Some of it one worker has begun; some they leave to one.
    """
    folder = str(tmp_path_factory.mktemp("by two"))
    store = Store(f"{folder}/store")
    join_group()
    for stage in PASSED_ON:
        leave(task, begun_by_one(base, stage), store)
    specs = [spec_of(base, zero_stage=stage) for stage in STAGES]
    specs += [begun_by_one(base, stage) for stage in PASSED_ON]
    left = [begun_by_two(base, stage) for stage in PASSED_ON]
    torch.multiprocessing.spawn(rank_of_two, (folder, task, specs, left), nprocs=2)
    return store


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_give_what_one_gives(task, base, stage, by_two, tmp_path):
    assert_alike(task, spec_of(base, zero_stage=stage), by_two, Store(str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("stage", PASSED_ON)
def test_two_workers_go_on_from_what_one_has_left(task, base, stage, by_two, tmp_path):
    assert_alike(task, begun_by_one(base, stage), by_two, Store(str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("stage", PASSED_ON)
def test_one_worker_goes_on_from_what_two_have_left(task, base, stage, by_two, tmp_path):
    spec, steps = begun_by_two(base, stage), []
    taught(task, spec, by_two, lambda phase, done, *_: steps.append((phase, done)))
    assert min(done for phase, done in steps if phase == "teacher") > 6, "it began anew"
    assert_alike(task, spec, by_two, Store(str(tmp_path)), workers=1)


def assert_alike(
    task: TaskSpec, spec: TeacherSpec, made: Store, alone: Store, workers: int = 2
) -> None:
    """What is there already is what one worker gives without a break, but for round-off."""
    key = taught(task, spec, alone)
    record, splits = made.load(SOFT_LABELS.name, key)
    _, expected = alone.load(SOFT_LABELS.name, key)
    assert record.summary["workers"] == workers
    for name, logits_NC in splits.items():
        np.testing.assert_allclose(logits_NC, expected[name], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_workers_that_cannot_share_a_batch_are_refused(by_two):
    folder = Path(unquote(by_two.uri.removeprefix("file://"))).parent
    (told,) = {path.read_text() for path in folder.glob("refused by *")}
    assert "batch size 15 cannot be shared evenly by 2 workers, 7 rows" in told


class Killing(Checkpoints):
    """Ends its worker once a checkpoint is saved that has so many whole epochs and steps."""

    at: tuple[int, int]

    def save(self, course: Course, state: dict, updates: int) -> None:
        super().save(course, state, updates)
        if (len(course.curve), course.step) == self.at:
            raise Killed


def until_killed(made, dataset, store, epochs, step, leaving=lambda: False) -> None:
    """Train until right after that checkpoint."""
    checkpoints = Killing(made, store)
    checkpoints.at = epochs, step
    join_group()
    with pytest.raises(Killed):
        fine_tune(made.spec, dataset, silent, checkpoints, leaving)


def assert_equal_to_the_bit(course: Course, expected: Course) -> None:
    for point, other in zip(course.curve, expected.curve, strict=True):
        assert point["train.loss"] == other["train.loss"]
        assert point["val.accuracy"] == other["val.accuracy"]
    assert course.adapter.keys() == expected.adapter.keys()
    for name, value in course.adapter.items():
        assert torch.equal(value.float(), expected.adapter[name].float()), name
    np.testing.assert_array_equal(course.validation_NC, expected.validation_NC)


@pytest.mark.parametrize(
    ("epochs", "step", "settings"),
    [
        (0, 2, {"zero_stage": 0}),
        (2, 0, {"zero_stage": 0}),
        (2, 0, {"zero_stage": 1}),
        (1, 4, {"zero_stage": 2}),
        (0, 2, {"zero_stage": 2, "offload": True}),
        (2, 0, {"zero_stage": 3}),
        (0, 2, {"zero_stage": 3, "offload": True, "gradient_checkpointing": True, "epochs": 1}),
        (0, 2, {"zero_stage": 0, "precision": "bfloat16", "epochs": 1}),
        (0, 2, {"zero_stage": 2, "precision": "bfloat16", "epochs": 1, "micro_batch_size": 4}),
        (0, 2, {"zero_stage": 3, "precision": "bfloat16", "epochs": 1}),
    ],
)
def test_a_resumed_course_ends_where_an_unbroken_one_does(
    task, base, epochs, step, settings, tmp_path, monkeypatch
):
    """Killed after two epochs, inside the first, or in the second as its node was taken away."""
    monkeypatch.setattr(module, "LOOK_STEPS", 2)
    monkeypatch.setattr(module, "CHECKPOINT_STEPS", 2 if step == 2 else 1000)
    spec, dataset = spec_of(base, dropout=0.2, **settings), data.load(task)
    made, store, looks = named(task, spec), Store(str(tmp_path)), []

    def leaving() -> bool:
        looks.append(None)
        return step == 4 and len(looks) > 3

    until_killed(made, dataset, store, epochs, step, leaving)
    resumed = fine_tune(spec, dataset, silent, Checkpoints(made, store))
    assert_equal_to_the_bit(resumed, fine_tune(spec, dataset, silent))
    assert len(store.files("checkpoints")) == 2


def test_a_teacher_that_comes_back_different_is_not_published(task, base, tmp_path):
    made, dataset, store = named(task, spec_of(base)), data.load(task), Store(str(tmp_path))
    until_killed(made, dataset, store, 3, 0)
    key = "checkpoints", made.fingerprint
    _, arrays = store.load(*key)
    arrays["adapter/head.bias"] = arrays["adapter/head.bias"] + np.float32(0.01)
    rewrite(store, key, tensors=arrays)
    with pytest.raises(TeacherError, match=r"differ from the live ones by up to 0\.01"):
        job.run(made, dataset, store)
    assert not store.fingerprints(SOFT_LABELS.name)
    assert not store.fingerprints("adapters")


def rewrite(store: Store, key: tuple[str, str], **change) -> None:
    """Another checkpoint in the place of one, with digests that are right."""
    record, arrays = store.load(*key)
    parts = {"tensors": arrays, "spec": record.spec, "made_from": record.made_from}
    parts |= {"summary": record.summary, "seconds": record.seconds}
    store.replace(*key, **(parts | change))


def pickled_data(store: Store, folder: Path, evil: Malicious, right: bool) -> None:
    """A pickle in the place of a checkpoint's tensors; `right`: under its own digest."""
    body = pickle.dumps(evil)
    fields = json.loads((folder / "record.json").read_text())
    (folder / fields["data"]["name"]).write_bytes(body)
    if right:
        del fields["sha256"]
        fields["data"] |= {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
        (folder / "record.json").write_bytes(record.write(record.Record.model_validate(fields)))


def other(store: Store, folder: Path, evil: Malicious, **change) -> None:
    """A checkpoint with another content."""
    rewrite(store, ("checkpoints", folder.name), **change)


def an_earlier_versions(store: Store, folder: Path, evil: Malicious) -> None:
    store.clear(f"checkpoints/{folder.name}")
    of_ray(folder, evil)


BAD = {
    "a pickle": (
        partial(pickled_data, right=False),
        r"its data file has \d+ bytes, the record says",
    ),
    "a pickle with the right digest": (
        partial(pickled_data, right=True),
        "its data is unreadable",
    ),
    "tensors of another model": (
        partial(other, tensors={"value/head.bias": np.ones(3, np.float32)}),
        "of its tensors are not this teacher's, the first is 'exp_avg/head.bias'",
    ),
    "another content": (
        partial(other, summary={"curve": {}, "step": "2"}),
        "in its record, curve: Input should be a valid list",
    ),
    "an earlier version's": (
        an_earlier_versions,
        "it is an earlier version's, and those are not read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_no_code_in_a_checkpoint_is_run_and_training_begins_anew(
    task, base, case, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr(module, "LOOK_STEPS", 2)
    spec, dataset = spec_of(base, epochs=1), data.load(task)
    made, store, lines = named(task, spec), Store(str(tmp_path / "store")), []
    until_killed(made, dataset, store, 0, 2)
    put, message = BAD[case]
    folder = tmp_path / "store" / "checkpoints" / made.fingerprint
    put(store, folder, Malicious(tmp_path / "it ran"))

    def tell(phase: str, done: int, total: int, note: str) -> None:
        lines.extend([note] * (total == 0))

    job.run(made, dataset, store, tell)
    assert not (tmp_path / "it ran").exists()
    (line,) = lines
    assert re.match(
        rf"the checkpoint checkpoints/{made.fingerprint} is not used, training begins anew: ", line
    )
    assert re.search(message, line)
    _, splits = store.load(SOFT_LABELS.name, made.fingerprint)
    alone = Store(str(tmp_path / "alone"))
    job.run(made, dataset, alone)
    for name, expected_NC in alone.load(SOFT_LABELS.name, made.fingerprint)[1].items():
        np.testing.assert_array_equal(splits[name], expected_NC)
    assert not store.files("checkpoints")


def test_the_best_epoch_is_kept(task, base):
    """A learning rate that ruins the teacher after the first epoch must not ruin the result."""
    join_group()
    spec = spec_of(base, epochs=6, lr=0.2, warmup=0.9)
    dataset = data.load(task)
    course = fine_tune(spec, dataset, silent)
    accuracies = [point["val.accuracy"] for point in course.curve]
    tokenizer, model = teacher.reload(spec, 2, course.adapter)
    logits_NC = teacher.logits(model, tokenizer, dataset.validation.texts, 16)
    assert (logits_NC.argmax(1) == dataset.validation.labels_N).mean() == max(accuracies)


def test_divergence_is_an_error_that_names_the_learning_rate(task, base, tmp_path):
    with pytest.raises(TeacherError, match=r"not finite in epoch \d of 3: .* below 1e\+30"):
        taught(task, spec_of(base, lr=1e30, warmup=0), Store(str(tmp_path)))


def test_the_teacher_is_the_model_of_the_plan_although_its_branch_moves():
    """The plan's digest is all that a worker goes by: there is no hub here to ask."""
    digest = f"bigscience/bloomz-1b1@{'1' * 40}"
    planned = Job.of(SOFT_LABELS.name, TeacherSpec(model="bloomz-1b1"), {"model": digest})
    spec = job._as_planned(planned)
    assert spec == planned.spec.model_copy(update={"model": digest})
    assert spec.precision == "bfloat16"


def test_a_teacher_whose_files_are_not_those_of_the_plan_is_refused(task, base, tmp_path):
    planned, store = named(task, spec_of(base)), Store(str(tmp_path))
    other = Job.of(planned.kind, planned.spec, {**planned.made_from, "model": "0" * 64})
    with pytest.raises(ConfigError, match=r"digest \w{12}, and 0{12} is needed: give each machine"):
        job.run(other, data.load(task), store)
    assert not store.fingerprints(SOFT_LABELS.name)


def command(path: Path, description: dict) -> subprocess.CompletedProcess:
    path.write_text(json.dumps(description))
    line = [sys.executable, "-m", "jobs.teacher", str(path)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_publishes_and_prints_the_fingerprint(task, base, tmp_path):
    description = {
        "task": task.model_dump(),
        "teacher": spec_of(base).model_dump(),
        "store": str(tmp_path / "store"),
    }
    done = command(tmp_path / "job.json", description)
    assert done.returncode == 0, done.stderr
    assert Store(str(tmp_path / "store")).record(SOFT_LABELS.name, done.stdout.strip())
    assert "teacher" in done.stderr


def test_the_command_refuses_bad_input_without_a_traceback(tmp_path):
    for settings, message in (
        ({"epoch": 1}, "unknown key 'teacher.epoch'; did you mean 'epochs'?"),
        ({"model": "minil"}, "unknown model 'minil'; did you mean 'minilm'?"),
    ):
        path = tmp_path / "job.json"
        path.write_text(json.dumps({"store": str(tmp_path), "teacher": settings}))
        assert here("jobs.teacher", [str(path)], status=2).startswith(message)
