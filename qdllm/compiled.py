"""Numba's compiler for kernels, which are found again wherever the project lies.

Numba's own cache goes by the path and the contents of the one file that a function is in. But Ray
unpacks the project into another folder for every job, and what a kernel calls is in other files.
Here, all that a kernel is made of names the folder in which it is kept.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import llvmlite
import numba
from numba.core.caching import IndexDataCacheFile, _Cache
from numba.core.compiler import CompileResult

from qdllm import outside

HERE = Path(__file__).parent
SOURCES = ("engine/*.py", "loss_kernel.py")
"""The files of this folder that end up in kernels. No other may."""


def digest(folder: Path = HERE) -> str:
    """What kernels are made of: the sources below a folder, and what compiles them."""
    versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
    # Where Intel's vector library is found, kernels call it.
    parts = [repr((*versions, numba.config.USING_SVML)).encode()]
    for path in sorted(path for pattern in SOURCES for path in folder.glob(pattern)):
        parts += [path.name.encode(), path.read_bytes()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


MADE_OF = digest()


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's `njit` with these options, for a function without a closure, and its results kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        assert function.__closure__ is None
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = Kept(f"{function.__module__}.{function.__qualname__}")
        return dispatcher

    return decorate


class Kept(_Cache):
    """A function's kernels, each in a file of its own for its signature and its processor.

    Any number of processes may compile the same one: a file is there as a whole or not at all.
    Where none can be written, every process compiles for itself.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str:
        """The folder. Raises RuntimeError for a user without a home."""
        return str(outside.cache() / "kernels" / MADE_OF)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for a signature; nothing where there is none."""
        target_context.refresh()
        try:
            kept = self._files()._load_data(self._file(sig, target_context.codegen()))
        except (OSError, EOFError, RuntimeError, UnpicklingError):  # after a power cut
            return None
        return CompileResult._rebuild(target_context, *kept)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel, if that can be, and no source has changed since this process began."""
        with suppress(OSError, RuntimeError):
            if digest() == MADE_OF:
                Path(self.cache_path).mkdir(parents=True, exist_ok=True)
                self._files()._save_data(self._file(sig, data.codegen), data._reduce())

    def _files(self) -> IndexDataCacheFile:
        # Its index would be everybody's, and two that write it at once mix kernels up.
        return IndexDataCacheFile(self.cache_path, self._name, None)

    def _file(self, sig: Any, codegen: Any) -> str:
        key = repr((sig, codegen.magic_tuple()))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()}"

    def enable(self) -> None:
        """It is."""

    def disable(self) -> None:
        """Nobody wants that."""

    def flush(self) -> None:
        """Other processes may need them."""
