"""A student's name under a chip's noise."""

from types import SimpleNamespace

import pytest

from qdllm.families.quantum import StudentSpec
from qdllm.processors import chips
from qdllm.spec import fingerprint


def named(monkeypatch: pytest.MonkeyPatch, noise: str, digest: str) -> str:
    monkeypatch.setattr(chips, "calibration", lambda chip: SimpleNamespace(digest=digest))
    return fingerprint(StudentSpec.parse({"circuit": {"noise": noise}}))


def test_another_calibration_under_the_same_name_is_another_student(monkeypatch):
    """IBM's fake chips come with a package that anybody may upgrade; ours ship here."""
    assert named(monkeypatch, "fake_fez", "a") == named(monkeypatch, "fake_fez", "a")
    assert named(monkeypatch, "fake_fez", "a") != named(monkeypatch, "fake_fez", "b")
    assert named(monkeypatch, "baihua", "a") == named(monkeypatch, "baihua", "b")
