"""`python -m qdllm.circuits CIRCUIT [KEY=VALUE …]`: what a circuit is made of, and what of it
counts.

CIRCUIT is a .qasm file, a whole circuit or one layer of an ansatz, or an ansatz by name. Settings
are those of a grid's `circuit`: layers=4, observables=z+zz.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence

from qdllm.circuits import openqasm
from qdllm.circuits.circuit import circuit, observables, told
from qdllm.circuits.cones import cones, depth
from qdllm.circuits.drawing import drawn
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.messages import shown

SHOWN = 9
"""Names that are listed at most."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, or 2 for what cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m qdllm.circuits", description=__doc__)
    parser.add_argument("circuit", metavar="CIRCUIT")
    parser.add_argument("settings", metavar="KEY=VALUE", nargs="*")
    chosen = parser.parse_args(arguments)
    try:
        spec = read(chosen.circuit, chosen.settings)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines(spec)))
    return 0


def read(name: str, settings: Sequence[str]) -> CircuitSpec:
    """The circuit that the command line names. Raises ConfigError if it cannot be used."""
    given: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"{shown(setting)} has no '='; write KEY=VALUE, such as layers=4")
        several = value.strip("[]").replace(" ", "").split(",")
        number = re.fullmatch(r"-?\d{1,18}", value, re.ASCII)
        given[key] = int(value) if number else several if "[" in value else value
    whole = name.endswith(openqasm.SUFFIX) and bool(openqasm.parse(openqasm.read(name)).angles)
    return CircuitSpec.parse({"file" if whole else "ansatz": name} | given)


def lines(spec: CircuitSpec) -> list[str]:
    """What there is to tell of a circuit."""
    made, strings = circuit(spec), observables(spec)
    found = cones(made, strings)
    counts = Counter(gate.name for gate in made.gates)
    gates = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    dead = [name for number, name in enumerate(made.weights) if number not in found.weights]
    result = [
        told(spec),
        f"gates           {len(made.gates)} ({gates})",
        f"depth           {depth(made)}",
        f"input angles    {len(made.angles)}, {len(found.angles)} of them live",
        f"weights         {len(made.weights)}, {len(found.weights)} of them live, in "
        f"{found.merged} different rotations",
        *(
            [f"dead weights    {', '.join([*dead[:SHOWN], *['…'] * (len(dead) > SHOWN)])}"]
            if dead
            else []
        ),
        f"observables     {len(strings)}, and what each depends on:",
    ]
    for cone in found.cones:
        angles = _ranges(cone.angles)
        result.append(f"  {cone.observable}  {len(cone.weights)} weights, input angles {angles}")
    return [*result, "", drawn(made)]


def _ranges(numbers: frozenset[int]) -> str:
    """0–3, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs) or "none"


if __name__ == "__main__":
    sys.exit(main())
