"""IBM's fake chips: real ones' calibrations, as qiskit-ibm-runtime ships them."""

from typing import Any

from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown
from qdllm.processors.calibration import Calibration

PULSES = 2
"""Of √X that any one rotation takes, those about Z being free."""
TWO_QUBIT = ("cz", "ecr", "cx")


def backend(name: str) -> Any:
    """A fake chip by its name, such as `fake_fez`. Raises ConfigError for one that there is not."""
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError:
        raise ConfigError(
            f"{shown(name)} is one of IBM's fake chips, which come with qiskit-ibm-runtime: "
            "install it with pip install 'qdllm-sweeps[ibm]'"
        ) from None
    classes: Any = (each for each in vars(fake_provider).values() if isinstance(each, type))
    known = {
        each.backend_name: each
        for each in classes
        if isinstance(getattr(each, "backend_name", None), str) and hasattr(each, "target")
    }
    if name not in known:
        hint = nearest(name, list(known)) or "."
        raise ConfigError(f"unknown fake chip {shown(name)}{hint} There are: {', '.join(known)}")
    return known[name]()


def calibration(name: str) -> Calibration:
    """A fake chip's calibration. Raises ConfigError as `backend`."""
    return of_target(backend(name).target, name)


def of_target(target: Any, name: str) -> Calibration:
    """What Qiskit's description of a chip says of it.

    A gate whose error is 1, as IBM marks what is broken, counts as not known.
    """
    two = next(gate for gate in TWO_QUBIT if gate in target.operation_names)
    qubits = []
    for index, of in enumerate(target.qubit_properties):
        # IBM leaves out of them what is out of order.
        pulse, how = (target[name].get((index,)) for name in ("sx", "measure"))
        error = 1.0 if pulse is None or pulse.error is None else pulse.error
        read = how and how.error
        one = {
            "index": index,
            "t1_us": (of.t1 or 0.0) * 1e6,
            "t2_us": (of.t2 or 0.0) * 1e6,
            "fidelity": max(0.0, 1 - PULSES * error),
        }
        broken = read is None or read >= 0.5
        wrong = 0.49 if broken else read
        readout = {"reads_0_as_1": wrong, "reads_1_as_0": wrong}
        qubits.append(one | {"readout": readout} | ({"fidelity": 0.0} if broken else {}))
    couplers = {
        tuple(sorted(pair)): {"qubits": list(pair), "fidelity": max(0.0, 1 - (of.error or 1.0))}
        for pair, of in target[two].items()
        if of is not None
    }
    durations = sorted(of.duration for of in target[two].values() if of and of.duration)
    pulses = sorted(of.duration for of in target["sx"].values() if of and of.duration)
    return Calibration.parse(
        {
            "chip": name,
            "time": "as shipped",
            "source": "qiskit-ibm-runtime",
            "one_qubit_ns": PULSES * pulses[len(pulses) // 2] * 1e9,
            "two_qubit_ns": durations[len(durations) // 2] * 1e9,
            "qubits": qubits,
            "couplers": list(couplers.values()),
        }
    )
