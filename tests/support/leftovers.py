"""What tests start ends with them, however they end: a process of its own sees to that.

Every process that a process of pytest's starts, at whatever depth, inherits a variable that names
it. Where such a name's bearer is gone, whoever still carries it is left over.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

VARIABLE = "QDLLM_STARTED_BY"
EVERY = 0.3
"""Seconds between two looks at whoever is watched."""
QUIET = 3
"""After so many looks that find nobody, nobody is left: who is being started is found late."""


def name(process: psutil.Process) -> str:
    """What tells a process from an earlier one of its number."""
    return f"{process.pid}@{process.create_time()}"


def end_with_this_process() -> None:
    """End whatever is left over of earlier runs, and see that nothing is left over of this one."""
    end(lambda carried: not _runs(carried))
    mine = name(psutil.Process())
    # Who watches is nobody's, so that neither a Ctrl-C nor another that watches ends it.
    nobodys = {key: value for key, value in os.environ.items() if key != VARIABLE}
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    command = [sys.executable, __file__, mine]
    subprocess.run(command, env=nobodys, start_new_session=True, check=True, **silent)
    os.environ[VARIABLE] = mine


def end(left_over: Callable[[str], bool]) -> None:
    """End all processes whose variable's value is left over, and what is below them."""
    quiet = 0
    while quiet < QUIET:
        found = carriers(left_over)
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        quiet = 0 if found else quiet + 1
        time.sleep(0.05)


def carriers(wanted: Callable[[str], bool]) -> set[psutil.Process]:
    """The processes with such a value, and those below them, which may have overwritten theirs."""
    found = set()
    for process in psutil.process_iter():
        try:
            carried = process.environ().get(VARIABLE)
            if carried and wanted(carried) and process.status() != psutil.STATUS_ZOMBIE:
                found |= {process, *process.children(recursive=True)}
        except psutil.Error:
            continue
    return found


def _runs(bearer: str) -> bool:
    number = int(bearer.partition("@")[0])
    try:
        process = psutil.Process(number)
        return name(process) == bearer and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(bearer: str) -> None:
    """Leave a process that watches behind."""
    if os.fork():
        return
    while _runs(bearer):
        time.sleep(EVERY)
    end(bearer.__eq__)


if __name__ == "__main__":
    main(sys.argv[1])
