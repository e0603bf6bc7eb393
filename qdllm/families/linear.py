"""Logistic regression on the same frozen features and hard labels: the linear probe."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qdllm.families.family import Family
from qdllm.specs import EncoderSpec, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Report, Trained

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths, among which the validation split chooses."""
CHUNK = 4096
"""Examples that a prediction takes at once, to bound its memory."""


class LinearSpec(TrialSpec):
    """A linear probe. Nothing about it is drawn, so it has one row."""

    seeds: ClassVar[tuple[int, ...]] = (0,)

    family: Literal["linear"] = "linear"
    encoder: EncoderSpec = EncoderSpec()


class Linear(Family[LinearSpec]):
    """What the features give by themselves."""

    name = "linear"
    label = "logistic regression"
    plural = "logistic regressions"
    kind = "linear"
    told: ClassVar[Mapping[str, str]] = {"validation": "metrics/val.accuracy"}
    spec = LinearSpec
    reads = ("features",)

    def parameters(self, spec: LinearSpec, features: int, classes: int) -> int:
        """As Family does: weights and bias of each class, or of the second one of two."""
        return (features + 1) * _rows(classes)

    def train(
        self, spec: LinearSpec, train: "Examples", validation: "Examples", report: "Report"
    ) -> "Trained":
        """Fit on standardised features for each strength; validation chooses.

        The standardisation goes into the weights, so that the row is all that there is.
        """
        import numpy as np
        import torch
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
        from torch.nn.functional import cross_entropy

        from qdllm.fit import Trained
        from qdllm.metrics import classification

        began = time.perf_counter()
        classes, scaler = 1 + int(train.labels_N.max()), StandardScaler()
        scaled_NH = scaler.fit_transform(train.features_NH.numpy())
        best, best_accuracy = torch.empty(0), -1.0
        for strength in STRENGTHS:
            fitted = LogisticRegression(C=strength, max_iter=500)
            with warnings.catch_warnings():
                # A fit that stops early is a candidate like the others: validation judges it.
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted.fit(scaled_NH, train.labels_N.numpy())
            weights_CH = fitted.coef_.astype(float) / scaler.scale_
            bias_C = fitted.intercept_.astype(float) - weights_CH @ scaler.mean_
            row_1P = torch.from_numpy(np.column_stack([weights_CH, bias_C]).reshape(1, -1))
            logits_1NC = Probe(row_1P, classes).predict(validation.features_NH)
            accuracy = float((logits_1NC[0].argmax(-1) == validation.labels_N).double().mean())
            if accuracy > best_accuracy:
                best, best_accuracy = row_1P, accuracy
        model, values = Probe(best, classes), {}
        for name, part in (("train", train), ("val", validation)):
            loss = cross_entropy(model.predict(part.features_NH)[0], part.labels_N)
            values[f"{name}.loss"] = loss.reshape(1)
        logits_1NC = model.predict(validation.features_NH)
        measured = classification(logits_1NC, validation.labels_N)
        values |= {f"val.{name}": value for name, value in measured.items()}
        report(1, values)
        curves = {name: value_1.unsqueeze(1) for name, value_1 in values.items()}
        return Trained(best, curves, [time.perf_counter() - began])

    def restore(
        self, spec: LinearSpec, features: int, classes: int, parameters_SP: "Tensor"
    ) -> "Probe":
        """As Family does."""
        return Probe(parameters_SP, classes)

    def work(self, spec: LinearSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        return (), 1.0

    def beside(self, students: Sequence[TrialSpec]) -> list[LinearSpec]:
        """One on the students' features."""
        encoders = {spec.encoder: spec.task for spec in students if hasattr(spec, "encoder")}
        return [LinearSpec(task=task, encoder=encoder) for encoder, task in encoders.items()]


class Probe:
    """S linear layers from features to classes; of two classes, only the second has weights."""

    def __init__(self, parameters_SP: "Tensor", classes: int) -> None:
        """A row is weights_CH and bias_C side by side, class by class."""
        rows = parameters_SP.double().reshape(len(parameters_SP), _rows(classes), -1)
        self._weights, self._bias = rows[:, :, :-1], rows[:, :, -1]

    def predict(self, features_NH: "Tensor") -> "Tensor":
        """logits_SNC in float64."""
        import torch

        parts = [
            torch.einsum("nh,sch->snc", chunk_NH.double(), self._weights)
            for chunk_NH in features_NH.split(CHUNK)
        ]
        logits_SNC = torch.cat(parts, dim=1) + self._bias.unsqueeze(1)
        if logits_SNC.shape[-1] > 1:
            return logits_SNC
        return torch.cat([torch.zeros_like(logits_SNC), logits_SNC], dim=-1)


def _rows(classes: int) -> int:
    return classes if classes > 2 else 1


FAMILY = Linear()
