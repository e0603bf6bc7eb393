"""Throw generated input at everything that reads any: `python tests/fuzz/fuzz.py --seed 1`.

Each case has a generator of its own, seeded by the seed and the case's number, so that
`--seed 1 --case 17` is that one again. A case fails where something else comes out of it than what
it asked for or one message: a traceback, nonsense that was accepted, sense that was refused, a
message that is long or does not say what was given, a secret, a file of others that is gone.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from given import SECRET, Case, Refused  # noqa: E402

LONGEST = 2000
"""Characters of a message."""
BEGINNING = 12
"""Characters of what was given that a message repeats at least."""
MEMORY = Path("/dev/shm")
"""Where a folder costs less than on a disk."""
PATIENCE = 120
"""Seconds after which a case counts as hanging: on a crowded machine, too."""


class Hanging(BaseException):
    """Nothing that anybody catches."""


def surfaces() -> dict[str, Callable[[random.Random, Path], Case]]:
    """Everything that reads input, by name."""
    import circuits
    import devices
    import grids
    import histories
    import places
    import specs
    import stores
    import texts

    return {
        "grid": grids.file,
        "set": grids.setting,
        "number": grids.number,
        "job": specs.job,
        "tracking": places.tracked,
        "database": places.database_file,
        "store": places.stored,
        "cluster": places.cluster_address,
        "flags": places.locations,
        "sweep": places.dry_run,
        "housekeeping": stores.store,
        "lock": stores.locked,
        "history": histories.damage,
        "table": texts.table,
        "circuit": circuits.named,
        "qasm": circuits.file,
        "folder": texts.files,
        "calibration": devices.calibration,
        "run": devices.run,
    }


def problem(case: Case, printed: Callable[[], str]) -> str | None:
    """What is wrong with how a case ends; nothing if that is as it should be."""
    from qdllm.errors import QdllmError

    try:
        accepted = case.run()
    except (QdllmError, Refused) as error:
        message = str(error)
    except SystemExit as stop:  # argparse has told
        message = printed()
        if stop.code != 2:
            return f"it ended with {stop.code!r}"
    except BaseException:
        return f"a traceback:\n{traceback.format_exc()[-3000:]}"
    else:
        if case.valid is False:
            return f"it was accepted, as {accepted!r:.300}"
        return case.check(accepted)
    if case.valid:
        return f"it was refused: {message:.500}"
    return told(case, message)


def told(case: Case, message: str) -> str | None:
    """What is wrong with a message."""
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters: {message:.300}"
    if SECRET in message:
        return f"a secret is told: {message:.500}"
    wanted = [text for text in case.repeated if text]
    if wanted and not any(repeats(message, text) for text in wanted):
        return f"what was given is not in the message: {message:.500}"
    return None


def repeats(message: str, text: str) -> bool:
    """Whether a message has the beginning of a text, as it stands or as it can be seen."""
    from qdllm.visible import visible

    beginning = text[:BEGINNING]
    return any(each in message for each in (beginning, repr(beginning)[1:-1], visible(beginning)))


@contextmanager
def place() -> Iterator[Path]:
    """A folder of one's own, which is the home and where one stands, and from which `../..` leads
    nowhere else."""
    before, home = Path.cwd(), os.environ.get("HOME", "/")
    around = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    folder = around / "one" / "two"
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ["HOME"] = str(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        os.environ["HOME"] = home
        shutil.rmtree(around, ignore_errors=True)


def run(seed: int, number: int, names: list[str]) -> tuple[str, str, str | None]:
    """One case: its surface, what was given, and what is wrong."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choice(names)
    with place() as folder, heard() as printed:
        case = surfaces()[name](rng, folder)
        signal.alarm(PATIENCE)
        try:
            wrong = problem(case, printed)
        finally:
            signal.alarm(0)
        if SECRET in printed():
            wrong = f"a secret is printed: {printed():.1000}"
    return name, case.given, wrong


@contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """What the process writes to its terminal while the block runs, by whatever way."""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:

        def printed() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            return os.pread(file.fileno(), 1_000_000, 0).decode(errors="replace")

        sys.stdout.flush()
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield printed
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in enumerate(saved, 1):
                os.dup2(before, number)
                os.close(before)


def main() -> int:
    """Run the command. Returns 1 if a case failed."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--cases", type=int, default=10_000)
    command.add_argument("--case", type=int, help="this one alone")
    command.add_argument("--only", help="a surface")
    options = command.parse_args()
    names = [name for name in surfaces() if options.only in (None, name)]

    def hang(*_: object) -> None:
        raise Hanging(f"nothing came of it in {PATIENCE} s")

    signal.signal(signal.SIGALRM, hang)
    numbers = range(options.cases) if options.case is None else [options.case]
    counted, failed = Counter(), 0
    for number in numbers:
        name, given, wrong = run(options.seed, number, names)
        counted[name] += 1
        if wrong:
            failed += 1
            again = f"python tests/fuzz/fuzz.py --seed {options.seed} --case {number}"
            again += f" --only {options.only}" if options.only else ""
            print(f"{again}\n  {name}: {given!s:.500}\n  {wrong}", flush=True)
    heavy = {"torch", "ray"} & sys.modules.keys()
    if heavy:
        print(f"imported: {', '.join(heavy)}")
    print(f"{sum(counted.values())} cases, {failed} failed: {dict(sorted(counted.items()))}")
    return 1 if failed or heavy else 0


if __name__ == "__main__":
    sys.exit(main())
