"""Ten thousand generated inputs: no traceback, no nonsense accepted, no message that is none.

`python tests/fuzz/fuzz.py --seed N --cases N` tries others. What fails is told with the command
that does it again.
"""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
CASES = 5000
"""Of each of two seeds, side by side on two cores."""


@pytest.mark.timeout(600)
def test_whatever_is_given_is_used_or_told_of():
    command = [sys.executable, str(FUZZ), "--cases", str(CASES)]
    running = [
        subprocess.Popen([*command, "--seed", seed], stdout=subprocess.PIPE, text=True)
        for seed in ("1", "2")
    ]
    for each in running:
        printed = each.communicate()[0]
        assert each.returncode == 0, printed[-10_000:]
        assert f"{CASES} cases, 0 failed" in printed


def test_a_failure_is_told_with_the_command_that_repeats_it(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import sys; sys.argv = ['fuzz.py', '--seed', '3', '--cases', '40', '--only', 'number']\n"
        f"sys.path.insert(0, {str(FUZZ.parent)!r})\n"
        "import fuzz, grids\n"
        "grids.read = lambda arguments: 1 / 0\n"
        "sys.exit(fuzz.main())\n"
    )
    done = subprocess.run([sys.executable, str(broken)], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "python tests/fuzz/fuzz.py --seed 3 --case 0 --only number\n" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "40 cases, 40 failed" in done.stdout
