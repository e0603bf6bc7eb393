"""QD-LLM's science: text and tensors in, tensors out.

Importing it is cheap: each name below is fetched from its module on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdllm.circuits.circuit import gates, weight_count, weight_names
    from qdllm.circuits.spec import CircuitSpec
    from qdllm.engine.statevector import expectations
    from qdllm.families.quantum import StudentSpec
    from qdllm.spec import fingerprint
    from qdllm.student import Student

_HOME = {
    "CircuitSpec": "qdllm.circuits.spec",
    "Student": "qdllm.student",
    "StudentSpec": "qdllm.families.quantum",
    "expectations": "qdllm.engine.statevector",
    "fingerprint": "qdllm.spec",
    "gates": "qdllm.circuits.circuit",
    "weight_count": "qdllm.circuits.circuit",
    "weight_names": "qdllm.circuits.circuit",
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
