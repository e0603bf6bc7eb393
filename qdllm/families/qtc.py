"""BERT-QTC: a small circuit slides along a text's frozen vector (Yang et al., arXiv 2203.03550).

No program of its authors is known; this follows what its abstract says and an open rebuild does. A
window of features turns the qubits of a circuit, the largest ⟨Z⟩ of the window is kept, and a
linear layer reads all windows. The circuit's weights are random and stay so, as the authors have
it, or are trained, as the rebuild has it.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, pi
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qdllm.circuits.circuit import weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError, TrialError
from qdllm.families.family import Family
from qdllm.spec import Spec
from qdllm.specs import EncoderSpec, FitSpec, Seeds, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Report, Trained

CHUNK = 256
"""Examples that are simulated at once, to bound memory."""


class KernelSpec(Spec):
    """A circuit of `qubits`, which is a window's width, on features with `pad` zeros at both ends.

    Features are multiplied by `scale` before they are angles: a MiniLM's are small.
    """

    qubits: Annotated[int, Field(ge=2, le=12)] = 5
    layers: Annotated[int, Field(ge=1, le=100)] = 2
    pad: Annotated[int, Field(ge=0, le=1000)] = 2
    scale: Annotated[float, Field(gt=0, le=1e6)] = 3.0
    trained: bool = False

    @property
    def circuit(self) -> CircuitSpec:
        """Features turn by RX; then layers of U3 and a ring of CNOTs; ⟨Z⟩ of each qubit."""
        return CircuitSpec(ansatz="qtc", qubits=self.qubits, layers=self.layers)


class QtcSpec(TrialSpec):
    """A quantum temporal convolution on hard labels."""

    family: Literal["qtc"] = "qtc"
    encoder: EncoderSpec = EncoderSpec()
    kernel: KernelSpec = KernelSpec()
    fit: FitSpec = FitSpec(lr=0.01)
    seeds: Seeds = (0, 1, 2, 3, 4)


class Qtc(Family[QtcSpec]):
    """A circuit that sees a few features at a time."""

    name = "qtc"
    label = "BERT-QTC"
    plural = "BERT-QTCs"
    kind = "qtc"
    told: ClassVar[Mapping[str, str]] = {
        "trained": "spec/kernel/trained",
        "lr": "spec/fit/lr",
        "validation": "metrics/val.accuracy",
    }
    spec = QtcSpec
    reads = ("features",)

    def check(self, spec: QtcSpec, texts_C: Sequence[int]) -> None:
        """Raise ConfigError where a window is wider than what it slides along."""
        features = spec.encoder.features()
        if problem := _too_wide(spec, features):
            raise ConfigError(problem)

    def parameters(self, spec: QtcSpec, features: int, classes: int) -> int:
        """As Family does; the circuit's count also where they stay random, since a row has them.

        1,568 for 768 features and two classes; the open rebuild, which leaves two windows out, has
        1,564.
        """
        return weight_count(spec.kernel.circuit) + (_windows(spec, features) + 1) * classes

    def train(
        self, spec: QtcSpec, train: "Examples", validation: "Examples", report: "Report"
    ) -> "Trained":
        """As Family does: Adam on cross-entropy, every row in an order of its own."""
        import torch
        from torch.nn.functional import cross_entropy

        from qdllm.fit import PACES, Adam, Trained, divergence, take
        from qdllm.metrics import classification

        features, classes = train.features_NH.shape[1], 1 + int(train.labels_N.max())
        if problem := _too_wide(spec, features):
            raise TrialError(problem)  # one that a search came to
        rows = [_draw(spec, features, classes, seed) for seed in spec.seeds]
        model = Convolution(spec, features, classes, torch.stack(rows))
        parameters = model.parameters_SP.requires_grad_()
        examples = len(train.labels_N)
        steps = spec.fit.epochs * ceil(examples / spec.fit.batch_size)
        lr_S = torch.full((len(rows),), spec.fit.lr)
        adam = Adam(model, lr_S, partial(PACES[spec.fit.schedule], steps))
        generators = [torch.Generator().manual_seed(seed) for seed in spec.seeds]
        began = time.perf_counter()
        held = None if spec.kernel.trained else model.pooled(train.features_NH)
        # What all epochs read is simulated once, and each has its share of that.
        ahead = (time.perf_counter() - began) / spec.fit.epochs
        history: list[dict[str, Tensor]] = []
        seconds = []
        for epoch in range(1, spec.fit.epochs + 1):
            began = time.perf_counter()
            order_SN = torch.stack([torch.randperm(examples, generator=g) for g in generators])
            total_S = torch.zeros(len(rows))
            for batch_SB in order_SN.split(spec.fit.batch_size, dim=1):
                if held is None:
                    pooled_SBW = model.convolved(take(train.features_NH, batch_SB))
                else:
                    pooled_SBW = held.gather(
                        1, batch_SB.unsqueeze(-1).expand(-1, -1, held.shape[2])
                    )
                logits_SBC = model.classify(pooled_SBW)
                labels_SB = train.labels_N[batch_SB]
                loss_SB = cross_entropy(
                    logits_SBC.flatten(0, 1), labels_SB.flatten(), reduction="none"
                ).view_as(labels_SB)
                loss_S = loss_SB.mean(1)
                (gradient_SP,) = torch.autograd.grad(loss_S.sum(), parameters)
                adam.step(gradient_SP)
                total_S += loss_S.detach() * (batch_SB.shape[1] / examples)
            seconds.append(time.perf_counter() - began + ahead)
            logits_SNC = model.predict(validation.features_NH)
            labels_SN = validation.labels_N.expand(len(rows), -1)
            loss_S = cross_entropy(logits_SNC.transpose(1, 2), labels_SN, reduction="none").mean(1)
            if not (parameters.isfinite().all() and (loss_S + total_S).isfinite().all()):
                raise divergence(model, spec.seeds, epoch, lr_S)
            measures = classification(logits_SNC, validation.labels_N, validation.logits_NC)
            values = {"train.loss": total_S, "val.loss": loss_S}
            values |= {f"val.{name}": value for name, value in measures.items()}
            history.append(values)
            report(epoch, values)
        curves = {name: torch.stack([one[name] for one in history], 1) for name in history[0]}
        return Trained(parameters.detach(), curves, seconds)

    def restore(
        self, spec: QtcSpec, features: int, classes: int, parameters_SP: "Tensor"
    ) -> "Convolution":
        """As Family does."""
        return Convolution(spec, features, classes, parameters_SP)

    def epochs(self, spec: QtcSpec) -> int:
        """As Family does."""
        return spec.fit.epochs

    def work(self, spec: QtcSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        kernel = spec.kernel.model_copy(update={"layers": 1})
        alike = kernel, spec.fit.batch_size
        return alike, len(spec.seeds) * spec.fit.epochs * spec.kernel.layers


class Convolution:
    """S rows: the circuit's weights, then the linear layer's, class by class, and its biases."""

    def __init__(self, spec: QtcSpec, features: int, classes: int, parameters_SP: "Tensor") -> None:
        self._kernel, self._classes = spec.kernel, classes
        self._windows, self._weights = _windows(spec, features), weight_count(spec.kernel.circuit)
        self.parameters_SP = parameters_SP

    def predict(self, features_NH: "Tensor") -> "Tensor":
        """logits_SNC of every row for the same examples."""
        import torch

        with torch.no_grad():
            return self.classify(self.pooled(features_NH))

    def pooled(self, features_NH: "Tensor") -> "Tensor":
        """(S, N, windows): the largest expectation of each window, without gradients."""
        import torch

        rows = len(self.parameters_SP)
        with torch.no_grad():
            parts = [
                self.convolved(part_NH.expand(rows, -1, -1)) for part_NH in features_NH.split(CHUNK)
            ]
        return torch.cat(parts, 1)

    def convolved(self, features_SNH: "Tensor") -> "Tensor":
        """(S, N, windows), of each row's own features."""
        from torch.nn.functional import pad

        from qdllm.engine.statevector import expectations

        kernel, weights_SW = self._kernel, self.parameters_SP[:, : self._weights]
        padded = pad(features_SNH * kernel.scale, (kernel.pad, kernel.pad))
        windows_SNWQ = padded.unfold(2, kernel.qubits, 1)
        flat_SBQ = windows_SNWQ.reshape(len(windows_SNWQ), -1, kernel.qubits)
        given = weights_SW if kernel.trained else weights_SW.detach()
        found = expectations(kernel.circuit, flat_SBQ, given.contiguous())
        return found.amax(-1).view(windows_SNWQ.shape[:3])

    def classify(self, pooled_SNW: "Tensor") -> "Tensor":
        """logits_SNC, the linear layer."""
        from qdllm.student import product

        rest_SP = self.parameters_SP[:, self._weights :]
        head, bias = rest_SP.split([self._windows * self._classes, self._classes], 1)
        weights_SWC = head.view(-1, self._classes, self._windows).transpose(1, 2)
        return product(pooled_SNW, weights_SWC) + bias.unsqueeze(1)


def _windows(spec: QtcSpec, features: int) -> int:
    """How many windows there are: d + 2·pad − k + 1."""
    return features + 2 * spec.kernel.pad - spec.kernel.qubits + 1


def _too_wide(spec: QtcSpec, features: int | None) -> str:
    """What is said where no window fits; empty where one does, or where nothing is known."""
    if features is None or _windows(spec, features) > 0:
        return ""
    return (
        f"kernel.qubits: a window of {spec.kernel.qubits} does not fit on {features:,} features "
        f"with {spec.kernel.pad:,} zeros at both ends; give a larger kernel.pad, fewer "
        "kernel.qubits, or more features"
    )


def _draw(spec: QtcSpec, features: int, classes: int, seed: int) -> "Tensor":
    """Weights U(0, 2π) for the circuit, U(±1/√windows) for the linear layer."""
    import torch

    generator, windows = torch.Generator().manual_seed(seed), _windows(spec, features)
    turned = torch.rand(weight_count(spec.kernel.circuit), generator=generator) * 2 * pi
    linear = torch.rand((windows + 1) * classes, generator=generator) * 2 - 1
    return torch.cat([turned, linear / windows**0.5])


FAMILY = Qtc()
