"""The real commands without a process of their own."""

import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import pytest
import torch

THREADS = torch.get_num_threads()
"""Those of a process that begins. Tests set their own, and sums in another number differ."""


def here(module: str, arguments: Sequence[str], status: int = 0, **environment: str) -> str:
    """What `python -m MODULE ARGUMENTS` prints on both streams, run in this process.

    That saves all that another would import, where the process is not what is tested. Not for what
    starts Ray. It is to end with that status.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stream:
        saved, threads = os.dup(1), torch.get_num_threads()
        os.dup2(stream.fileno(), 1)
        torch.set_num_threads(THREADS)
        try:
            with (
                redirect_stdout(stream),
                redirect_stderr(stream),
                warnings.catch_warnings(action="ignore"),
                patch.dict(os.environ, environment),
                patch.object(sys, "argv", [module, *arguments]),
                pytest.raises(SystemExit) as ended,
            ):
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            torch.set_num_threads(threads)
        stream.seek(0)
        printed = stream.read()
    assert ended.value.code == status, printed
    assert "Traceback" not in printed, printed
    return printed
