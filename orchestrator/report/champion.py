"""A sweep's champion as a folder that goes wherever a user wants it."""

import re
from datetime import UTC, datetime
from pathlib import Path

from jobs import kinds
from jobs.store import Store
from orchestrator.plan.ranking import OBJECTIVE, Result
from orchestrator.report import tables
from orchestrator.report.findings import Findings
from orchestrator.report.rendering import environment
from qdllm import families, outside, saved
from qdllm.errors import ConfigError
from qdllm.models import FITTED, pinned
from qdllm.tfidf import Tfidf

CARD = "README.md"
METRICS = {"accuracy": "Accuracy", "f1": "F1"}
"""What a model card tells of the test split, as the Hugging Face hub calls it."""


def save(found: Findings, store: Store, folder: Path) -> None:
    """Write the champion's best seed by validation, for qdllm.predictor to load.

    Raises StoreError for a damaged result, ConfigError where the encoder's model is missing.
    """
    chosen = found.champion
    assert chosen is not None, "a sweep without one has nothing to save"
    spec = chosen.trial.spec
    _, tensors = store.load(chosen.trial.kind, chosen.trial.fingerprint)
    role = families.of(spec).reads[0]
    kind, made = kinds.by_role(role).name, chosen.trial.made_from[role]
    inputs = store.record(kind, made)
    assert inputs is not None, "the trial was made from them"
    # A branch of the hub may have moved since then.
    name = pinned(spec.encoder.model, spec.encoder.weights, inputs.made_from["model"])
    encoder = spec.encoder.model_copy(update={"model": name})
    saved.save(
        folder,
        spec.model_copy(update={"encoder": encoder}),
        found.sweep.summary["classes"],
        inputs.summary["width"],
        tensors["parameters"][chosen.best_seed],
        Tfidf(store.load(kind, made)[1]) if name in FITTED else None,
    )


def lineage(store: Store, chosen: Result, texts: str) -> dict[str, str]:
    """What a trial was made of, by name and fingerprint. `texts`: the digest of its texts."""
    told = {"qdllm.id": chosen.trial.fingerprint}
    for role, name in chosen.trial.made_from.items():
        kind = kinds.by_role(role)
        if kind.named_by:
            continue  # it goes by another's name, which is told
        told[f"qdllm.{role}"] = name
        source = store.record(kind.name, name)
        # A teacher's soft labels come from its adapter.
        if source and "adapter" in source.made_from:
            told["qdllm.adapter"] = source.made_from["adapter"]
    accuracy = chosen.over_seeds(OBJECTIVE).mean
    return told | {"qdllm.texts": texts, "qdllm.val.accuracy": f"{accuracy:.4f}"}


def export(found: Findings, store: Store, folder: Path) -> None:
    """Write the champion, and a model card with what is known of it, into a new folder.

    It predicts without a store, a sweep's home or MLflow, and a repository of the Hugging Face hub
    can hold it. Raises ConfigError if there is no champion or something in the folder, StoreError
    for a damaged result.
    """
    if found.champion is None:
        raise ConfigError(f"{found.name} has no champion yet, so there is none to export")
    if told := tables.unmeasured(found):
        raise ConfigError(f"{found.name}: {told}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--export {folder}: there is something already; give a new folder")
    outside.folder(folder)
    save(found, store, folder)
    (folder / CARD).write_text(
        card(found, store, (folder / saved.ENCODER).is_dir()), encoding="utf-8"
    )


def card(found: Findings, store: Store, own_encoder: bool) -> str:
    """The champion's model card, with the metadata that the Hugging Face hub reads.

    `own_encoder`: whether its encoder lies beside it.
    """
    chosen, texts = found.champion, found.sweep.summary
    assert chosen is not None, "a sweep without one has nothing to describe"
    # Imported here: a dry run need not wait for it, nor for matplotlib and scipy's statistics.
    from huggingface_hub import EvalResult, ModelCardData

    from orchestrator.report import page

    metrics = chosen.record.summary["metrics"]
    metadata = ModelCardData(
        library_name="qdllm-sweeps",
        pipeline_tag="text-classification",
        tags=["knowledge-distillation", "text-classification", chosen.trial.spec.family],
        model_name=found.name,
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=texts["task"],
                dataset_name=texts["task"],
                dataset_split="test",
                metric_type=metric,
                metric_name=f"{name}, of the seed that this is",
                metric_value=chosen.by_seed(f"test.{metric}")[chosen.best_seed],
            )
            for metric, name in METRICS.items()
            if f"test.{metric}" in metrics
        ],
    )
    templates = environment()
    templates.filters["cell"] = _cell
    return templates.get_template("card.md").render(
        metadata=metadata.to_yaml().strip(),
        found=found,
        texts=texts,
        label=families.of(chosen.trial.spec).label,
        seed=chosen.trial.spec.seeds[chosen.best_seed],
        accuracy={
            one: chosen.by_seed(f"{one}.accuracy")[chosen.best_seed] for one in ("val", "test")
        },
        over_seeds={
            one: tables.measured(found, chosen, f"{one}.accuracy") for one in ("val", "test")
        },
        seeds=len(chosen.trial.spec.seeds),
        lines=tables.chosen_lines(found),
        settings=[(tables.spoken(key), found.value(chosen, key)) for key in found.axes],
        encoder=None if own_encoder else chosen.trial.spec.encoder.model,
        compared=page.COMPARED,
        standing=list(page.standing(found)),
        lineage=lineage(store, chosen, found.sweep.made_from["texts"]),
        created=datetime.fromtimestamp(chosen.record.created, UTC),
        versions=chosen.record.versions,
    )


def _cell(text: object) -> str:
    """A text that ends no cell of a Markdown table and begins no other mark."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(str(text).split()))
