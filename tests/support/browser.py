"""A headless browser."""

import shutil
import subprocess
import tempfile

import pytest
from waiting import DEADLINE


def chromium(*arguments: str) -> str:
    """What a headless browser prints, which has never been anywhere."""
    named = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, named)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(named)} is installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags.append(f"--user-data-dir={profile}")
        command = [program, *flags, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=DEADLINE
        ).stdout
