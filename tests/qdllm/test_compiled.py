"""Kernels are found again by what they are made of and whom they are for, wherever they lie."""

import ast
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

from qdllm import compiled

ENGINE = """
import torch, qdllm
from qdllm.engine import walk
spec = qdllm.CircuitSpec(qubits=4, layers=1)
angles = torch.full((1, 2, 4), 0.5)
weights = torch.full((1, qdllm.weight_count(spec)), 0.5, requires_grad=True)
qdllm.expectations(spec, angles, weights).sum().backward()
found = weights.grad.tolist()
"""
TOLD = """
print(qdllm.__file__)
print(found)
print(sum(sum(one.stats.cache_misses.values()) for one in (walk.forward, walk.backward)))
"""


def double():
    """A function that nobody has compiled yet in this process."""

    @compiled.kernel()
    def double(x):
        return x + x

    return double


def hits(function) -> int:
    return sum(function.stats.cache_hits.values())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QDLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_another_has_compiled_is_found(cache):
    first, second = double(), double()
    assert (first(1), hits(first)) == (2, 0)
    assert (second(1), hits(second)) == (2, 1)


def test_each_signature_has_a_file_of_its_own_and_nothing_else_lies_there(cache):
    first, second = double(), double()
    for x in (1, 1.5, np.float32(1.5), np.ones(3)):
        for function in (first, second):
            np.testing.assert_array_equal(function(x), 2 * x)
    assert hits(second) == 4
    (folder,) = (cache / "kernels").iterdir()
    assert len(list(folder.iterdir())) == 4


def test_where_nothing_can_be_written_everybody_compiles(cache):
    cache.write_text("a file where a folder would be")
    for function in (double(), double()):
        assert (function(1), hits(function)) == (2, 0)


def test_what_a_power_cut_has_left_empty_is_written_again(cache):
    double()(1)
    (file,) = cache.rglob("*double*")
    file.write_bytes(b"")
    again, after = double(), double()
    assert (again(1), hits(again)) == (2, 0)
    assert (after(1), hits(after)) == (2, 1)


def test_what_is_compiled_while_a_source_changes_is_not_kept(cache, monkeypatch):
    """It may be made of either."""
    monkeypatch.setattr(compiled, "digest", lambda: "of an edited source")
    for function in (double(), double()):
        assert (function(1), hits(function)) == (2, 0)


def test_a_copy_elsewhere_finds_the_engine(tmp_path):
    """As Ray unpacks one for every job."""
    shutil.copytree(ROOT / "qdllm", tmp_path / "qdllm")
    here: dict[str, Any] = {}
    exec(ENGINE, here)
    command = [sys.executable, "-c", ENGINE + TOLD]
    there = subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()
    assert there == [str(tmp_path / "qdllm" / "__init__.py"), str(here["found"]), "0"]


def test_any_change_of_a_source_or_of_numba_is_another_kernel(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "qdllm", tmp_path / "qdllm")
    copy = tmp_path / "qdllm"
    assert compiled.digest(copy) == compiled.MADE_OF
    for path in (copy / "engine" / "simd.py", copy / "loss_kernel.py"):
        before = compiled.digest(copy)
        path.write_bytes(path.read_bytes() + b"\n")
        assert compiled.digest(copy) != before
    (copy / "encoder.py").write_text("")
    after = compiled.digest(copy)
    monkeypatch.setattr(compiled.numba, "__version__", "0.999")
    assert compiled.digest(copy) != after


def test_kernels_are_made_of_nothing_but_these_sources():
    """Each file with something for Numba, and all that it imports of this project."""
    made_of = {path for one in compiled.SOURCES for path in (ROOT / "qdllm").glob(one)}
    for path in (ROOT / "qdllm").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if path.name != "compiled.py" and any(one.startswith("numba") for one in imported):
            assert path in made_of
            ours = {one for one in imported if one.startswith("qdllm.")} - {"qdllm.compiled"}
            assert {ROOT / f"{one.replace('.', '/')}.py" for one in ours} <= made_of, path
