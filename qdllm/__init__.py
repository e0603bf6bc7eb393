"""QD-LLM's science: text and tensors in, tensors out.

Importing it is cheap: each name below is fetched from its module on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdllm.circuits.gates import gates, weight_count, weight_names
    from qdllm.engine.statevector import expectations
    from qdllm.families.quantum import StudentSpec
    from qdllm.specs import CircuitSpec, fingerprint
    from qdllm.student import Student

_HOME = {
    "CircuitSpec": "qdllm.specs",
    "Student": "qdllm.student",
    "StudentSpec": "qdllm.families.quantum",
    "expectations": "qdllm.engine.statevector",
    "fingerprint": "qdllm.specs",
    "gates": "qdllm.circuits.gates",
    "weight_count": "qdllm.circuits.gates",
    "weight_names": "qdllm.circuits.gates",
}

__all__ = [
    "CircuitSpec",
    "Student",
    "StudentSpec",
    "expectations",
    "fingerprint",
    "gates",
    "weight_count",
    "weight_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'qdllm' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
