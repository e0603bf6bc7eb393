"""The student, S of them at once: features → linear → angles → circuit → ⟨Z⟩ → linear → logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from qdllm.circuits.circuit import angle_count, observable_count, weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations

MINMAX_RANGE = 10.0
"""The published program scales each text's angles to [0, 10]."""
CHUNK = 512
"""Examples that a prediction takes at once, to bound its memory."""


def uniform(generator: torch.Generator, size: int, fan_in: int) -> Tensor:
    """U(±1/√fan_in), as torch's own linear layers start."""
    return (torch.rand(size, generator=generator) * 2 - 1) / fan_in**0.5


@dataclass(frozen=True)
class Core:
    """What stands between the two linear layers.

    `run` maps angles_SNA and weights_SW to outputs_SNM; the same function of each student's own
    slices, whatever S is. `width` is A, and `outputs` is M. `draw` gives one student's weights_W to
    start from.
    """

    width: int
    weights: int
    outputs: int
    run: Callable[[Tensor, Tensor], Tensor]
    draw: Callable[[torch.Generator], Tensor]


def circuit_core(
    spec: CircuitSpec, angles: str, simulate: Callable[..., Tensor] = expectations
) -> Core:
    """The quantum core: angle encoding, ansatz, expectations (equations 5 to 13).

    Weights start at N(0, 0.01²), near the identity, where deep circuits still have gradients.
    `angles` is "raw", or "minmax" for the published program's scaling; `simulate` takes
    (spec, angles_SNA, weights_SW), so that another simulator can stand in for the engine.
    """

    def run(angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
        if angles == "minmax":
            angles_SNA = minmax(angles_SNA)
        return simulate(spec, angles_SNA, weights_SW)

    count = weight_count(spec)
    return Core(
        angle_count(spec),
        count,
        observable_count(spec),
        run,
        lambda generator: torch.randn(count, generator=generator) * 0.01,
    )


def classical_core(*widths: int) -> Core:
    """Hidden layers with tanh, the classical counterpart of a circuit of the same size.

    `widths`: of each layer. The first one's linear part is the student's own; the others' weights,
    (in, out), and biases are the core's, layer by layer, and start as torch's do.
    """
    shapes = [(size + 1, units) for size, units in pairwise(widths)]
    sizes = [size * units for size, units in shapes]

    def run(angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
        hidden_SNU = torch.tanh(angles_SNA)
        for shape, values_SW in zip(shapes, weights_SW.split(sizes, 1), strict=True):
            layer_SIU = values_SW.view(-1, *shape)
            sums_SNU = product(hidden_SNU, layer_SIU[:, :-1]) + layer_SIU[:, -1:]
            hidden_SNU = torch.tanh(sums_SNU)
        return hidden_SNU

    def draw(generator: torch.Generator) -> Tensor:
        layers = [uniform(generator, size * units, size - 1) for size, units in shapes]
        return torch.cat([torch.empty(0), *layers])

    return Core(widths[0], sum(sizes), widths[-1], run, draw)


def product(a_SNK: Tensor, b_SKM: Tensor) -> Tensor:
    """Each student's matrix product, the same to the bit whichever students stand beside it.

    BLAS sums in another order where a matrix does not start at a multiple of 16 bytes, which in a
    batch of matrices of odd sizes depends on a student's place: zeros make the sizes even.
    """
    rows, columns = a_SNK.shape[1], b_SKM.shape[2]
    if columns % 4:
        b_SKM = pad(b_SKM, (0, -columns % 4))
    if rows * a_SNK.shape[2] % 4:
        a_SNK = pad(a_SNK, (0, 0, 0, -rows % 4))
    return torch.bmm(a_SNK, b_SKM)[:, :rows, :columns]


def minmax(angles_SNA: Tensor) -> Tensor:
    """Each text's angles, stretched to [0, 10] by their own minimum and maximum."""
    low, high = angles_SNA.aminmax(dim=-1, keepdim=True)
    return (angles_SNA - low) / (high - low).clamp(min=1e-12) * MINMAX_RANGE


def parameter_count(core: Core, features: int, classes: int) -> int:
    """Trainable parameters of one student. The paper's 9,275 at 768 features and two classes."""
    return (features + 1) * core.width + core.weights + (core.outputs + 1) * classes


class Student(nn.Module):
    """S students of one shape. All parameters of a student are one row of `parameters_SP`."""

    def __init__(
        self,
        core: Core,
        features: int,
        classes: int,
        seeds: Sequence[int],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draw each student's parameters from its own seed, so that none depends on the others.

        Linear layers start as torch's own do, the core's weights as it says.
        """
        super().__init__()
        self.core, self.features, self.classes = core, features, classes
        rows = torch.stack([self._draw(seed) for seed in seeds])
        self.parameters_SP = rows.to(device=device, dtype=dtype)
        # Linear layers are (out, in), as torch's are: BLAS is up to four times as fast that way.
        shapes = [(core.width, features), (1, core.width), (core.weights,)]
        shapes += [(classes, core.outputs), (1, classes)]
        sizes = [torch.Size(shape).numel() for shape in shapes]
        # Views, so that one optimiser step over `parameters_SP` moves them all.
        leaves = [
            nn.Parameter(values.view(len(seeds), *shape))
            for values, shape in zip(self.parameters_SP.split(sizes, 1), shapes, strict=True)
        ]
        self.linear, self.linear_bias, self.weights, self.head, self.head_bias = leaves

    @classmethod
    def of(cls, core: Core, features: int, classes: int, parameters_SP: Tensor) -> Self:
        """Trained students from their parameters."""
        student = cls(core, features, classes, range(len(parameters_SP)))
        student.parameters_SP.copy_(parameters_SP)
        return student

    @torch.no_grad()
    def predict(self, features_NH: Tensor) -> Tensor:
        """logits_SNC of every student for the same examples."""
        return torch.cat([self(chunk) for chunk in features_NH.split(CHUNK)], dim=1)

    def forward(self, features_SNH: Tensor) -> Tensor:
        """logits_SNC from features of shape (S, N, H), or (N, H) where all students read the same.

        Raises ConfigError on features that are not finite.
        """
        return self.classify(self.expectations(features_SNH))

    def expectations(self, features_SNH: Tensor) -> Tensor:
        """expectations_SNM, what the core makes of the features; ⟨Z⟩ where it is a circuit."""
        return self.core.run(self.encode(features_SNH), self.weights)

    def encode(self, features_SNH: Tensor) -> Tensor:
        """angles_SNA, the first linear layer (equation 4)."""
        students = self.parameters_SP.shape[0]
        features_SHN = features_SNH.expand(students, -1, -1).transpose(1, 2)
        return product(self.linear, features_SHN).transpose(1, 2) + self.linear_bias

    def classify(self, expectations_SNM: Tensor) -> Tensor:
        """logits_SNC, the last linear layer."""
        return product(expectations_SNM, self.head.transpose(1, 2)) + self.head_bias

    def _draw(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        width, outputs = self.core.width, self.core.outputs
        return torch.cat(
            [
                uniform(generator, (self.features + 1) * width, self.features),
                self.core.draw(generator),
                uniform(generator, (outputs + 1) * self.classes, outputs),
            ]
        )


def restore(
    circuit: CircuitSpec,
    angles: str,
    features: int,
    classes: int,
    parameters_SP: Tensor,
    simulate: Callable[..., Tensor] = expectations,
) -> Student:
    """Trained quantum students from their parameters, under another simulator if one is given."""
    core = circuit_core(circuit, angles, simulate)
    return Student.of(core, features, classes, parameters_SP)
