"""What is asked of a device, real or simulated: a measurement of a trained student. Torch-free."""

import re
from typing import Any, Literal, NamedTuple

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from qdllm.errors import ConfigError, nearest
from qdllm.messages import cut, shown
from qdllm.processors import chips
from qdllm.spec import Spec
from qdllm.specs import Seed

PAPER_SHOTS = 10_240
"""A text's, in the paper and by default."""
PLATFORMS = ("quafu", "ibm")
"""Through which real processors are asked."""
SIMULATED = ("noise", "sim")
"""What a chip's calibration is good for: its noise alone, and a whole run with it."""

OFFERED = ("shots", *(f"{name}-{how}" for name in chips.NAMES for how in SIMULATED))
"""Targets that are there without a file, an extra or a token."""


class Target(NamedTuple):
    """What measures: `chip` is a name or a file, and empty for what is perfect."""

    how: Literal["shots", "noise", "sim", "quafu", "ibm"]
    chip: str

    @property
    def real(self) -> bool:
        """Whether it lies on a platform, and may cost something."""
        return self.how in PLATFORMS

    @property
    def counts(self) -> bool:
        """Whether it gives shots; a noise model gives expectations."""
        return self.how != "noise"


def parsed(target: str) -> Target:
    """A target by its name. Raises ValueError, naming those that there are, for any other."""
    found = _parsed(target)
    if found is None:
        raise ValueError(
            f"unknown target {shown(target)}{nearest(target, list(OFFERED)) or '.'} There are: "
            f"{', '.join(OFFERED)}; the same of a calibration file, as in chip.json-noise, and of "
            "IBM's fake chips, as in fake_fez-noise; and quafu:CHIP and ibm:CHIP, which are asked "
            "by python -m orchestrator.device"
        )
    return found


def _parsed(target: str) -> Target | None:
    if target == "shots":
        return Target("shots", "")
    platform, _, chip = target.partition(":")
    if platform in PLATFORMS and chip:
        return Target("quafu" if platform == "quafu" else "ibm", chip)
    chip, _, how = target.rpartition("-")
    if how in SIMULATED and chips.known(chip):
        return Target("noise" if how == "noise" else "sim", chip)
    return None


def _with_shots(name: str) -> tuple[str, str]:
    """A target, and what stands after a colon."""
    target, colon, shots = name.rpartition(":")
    return (target, shots) if colon and target not in PLATFORMS else (name, "")


def known(name: str) -> bool:
    """Whether a name is that of a target, maybe with shots."""
    return _parsed(_with_shots(name)[0]) is not None


class MeasurementSpec(Spec):
    """A trained student's texts, measured by a target.

    What cannot change a target's numbers is null: shots of a noise model, which gives expectations,
    and all that is a chip's of one without a chip.
    """

    target: str = "shots"
    split: Literal["validation", "test"] = "test"
    rows: int | None = Field(None, ge=1, le=10_000_000)
    """How many of its texts, drawn by the seed with each class's share; null: all."""
    shots: int | None = Field(None, ge=1, le=10_000_000, validate_default=True)
    """Bit strings of each circuit; 10,240 if not given."""
    trajectories: int | None = Field(None, ge=2, le=100_000, validate_default=True)
    """Samples of the noise; 128 if not given."""
    form: Literal["two-chains", "as-is"] | None = Field(None, validate_default=True)
    """How circuits are laid out: without the qubit that is but a classical bit, where they have
    one, which is how it is done if not given; or as they are."""
    mitigation: Literal["none", "readout", "affine"] | None = Field(None, validate_default=True)
    """What is done to expectations: readout errors are inverted, if not given; or, after that, a
    line is fitted for each observable, on validation texts whose exact expectations are known."""
    calibration_texts: int | None = Field(None, ge=10, le=100_000, validate_default=True)
    """Validation texts for those lines; 200 if not given."""
    seed: Seed = 0
    """Of what is drawn: rows, shots, noise."""
    label: str | None = Field(None, pattern=r"^[\w.-]{1,60}$")
    """Of a run on a real processor, which gives other numbers each time: a run has its own."""

    @field_validator("target")
    @classmethod
    def _known(cls, target: str) -> str:
        parsed(target)
        return target

    @field_validator("shots", "trajectories", "form", "mitigation", "calibration_texts", "label")
    @classmethod
    def _of_the_target(cls, value: Any, info: ValidationInfo) -> Any:
        if "target" not in info.data:
            return value
        target, name = parsed(info.data["target"]), str(info.field_name)
        applies = {
            "shots": target.counts,
            "trajectories": target.how in ("noise", "sim"),
            "calibration_texts": info.data.get("mitigation") == "affine",
            "label": target.real,
        }.get(name, target.how != "shots")
        if not applies:
            if value is not None:
                raise ValueError(
                    f"{shown(value)} was given, but it changes nothing of what "
                    f"{cut(info.data['target'])} measures; leave it out"
                )
            return None
        default = {
            "shots": PAPER_SHOTS,
            "trajectories": 128,
            "form": "two-chains",
            "mitigation": "readout",
            "calibration_texts": 200,
        }
        return default.get(name) if value is None else value

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As Spec does; a file is none of a path, since its content's digest stands beside it."""
        target = parsed(self.target)
        if target.how in SIMULATED and not chips.named(target.chip):
            plain = plain | {"target": f"{chips.SUFFIX}-{target.how}"}
        return super().hashed(plain)

    @model_serializer(mode="wrap")
    def _serialized(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Without what is null, which is what it would be if it were read again."""
        plain = super()._serialized(handler, info)
        return {key: value for key, value in plain.items() if value is not None}


def settings(name: str) -> dict[str, Any]:
    """What a name means: a target, with its shots after a colon where they are others.

    Raises ConfigError for shots that are none.
    """
    target, shots = _with_shots(name)
    if not shots:
        return {"target": name}
    if not re.fullmatch(r"\d{1,18}", shots, re.ASCII):
        raise ConfigError(f"{shown(name)}: shots are a whole number, as in shots:1024")
    return {"target": target, "shots": int(shots)}


def named(name: str) -> "MeasurementSpec":
    """The measurement that a name means. Raises ConfigError for one that is none."""
    return MeasurementSpec.parse(settings(name))
