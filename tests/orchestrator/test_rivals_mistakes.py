"""Rivals that cannot be trained: one message, before anything is."""

import pytest
import tiny_models
from commands import here

MISTAKES = {
    "a layer that the model lacks": (
        ["family=hard", "body.layers=[0, 2, 6]"],
        "family hard: body.layers: [0, 2, 6] are asked for, but 'minilm' has 6 layers, 0 to 5",
    ),
    "more layers than the source": (
        ["family=hard", "body.layers=[0, 1, 2, 3, 4, 5, 5]"],
        "body.layers: [0, 1, 2, 3, 4, 5, 5] are asked for, but 'minilm' has 6 layers",
    ),
    "heads that do not divide the width": (
        ["family=tinybert", "body.width=100"],
        "body: 12 heads do not divide a width of 100; give a multiple of 12",
    ),
    "a copy of another width": (
        ["family=hard", "body.width=192"],
        "layers copied from 'minilm' keep its hidden_size of 384, but 192 was given",
    ),
    "a window that is wider than the features": (
        ["family=qtc", "encoder={model: tfidf, components: 4}", "kernel.pad=0"],
        "family qtc: kernel.qubits: a window of 5 does not fit on 4 features with 0 zeros at both",
    ),
    "more components than there are": (
        ["family=hard", "body.start=pca", "body.width=396"],
        "body.width: 396 was given, but the embeddings of 'minilm' have 384",
    ),
    "a state out of range": (
        ["family=pkd", "terms.pairs=[[1, 7]]"],
        "terms.pairs: state 7 was given, but teacher 'minilm' has 0, the embeddings, to 6",
    ),
    "a state that the body lacks": (
        ["family=pkd", "terms.pairs=[[4, 2]]"],
        "terms.pairs: state 4 was given, but the body has 0, the embeddings, to 3",
    ),
    "heads that cannot be followed": (
        ["family=tinybert", "body.heads=6", "body.width=192"],
        "body.heads: attention follows the teacher head by head, but 6 was given and 'minilm' "
        "has 12",
    ),
    "a teacher with fewer layers than the body": (
        ["family=tinybert", "body.layers=[0, 1, 2, 3, 4, 5, 5]"],
        "body.layers: 7 were given, but teacher 'minilm' has 6 to follow",
    ),
    "pairs with a teacher of fewer layers": (
        ["family=pkd", "body.layers=[0, 1, 2, 3, 4, 5, 5]", "body.start=random"],
        "body.layers: 7 were given, but teacher 'minilm' has 6 to follow",
    ),
    "more labelled texts than a class has": (
        ["family=lsfls", "few.labelled=5000"],
        "few.labelled: 5,000 texts of each class were asked for, but the smallest class has",
    ),
    "no labelled text of a class": (
        ["family=lsfls", "few.labelled=0"],
        "few.labelled",
    ),
    "more than the pool": (
        ["family=lsfls", "few.rounds=20"],
        "few.rounds: 20 rounds of 0.1 more each come to more than all texts without labels",
    ),
    "a last batch of one under batch norm": (
        ["family=hitin", "tuning.batch_size=719"],
        "720 training texts in batches of 719 leave a batch of one",
    ),
    "a batch of one under batch norm": (
        ["family=hitin", "tuning.batch_size=1"],
        "leave a batch of one, which has no spread for a batch norm",
    ),
    "words of what has none": (
        ["family=textrcnn", "encoder={model: tfidf}"],
        "family textrcnn: encoder.model 'tfidf' has no words' embeddings; give one of type bert",
    ),
    "no epoch for reverse KL": (
        ["family=minillm", "terms.hard_epochs=3"],
        "terms.hard_epochs: 3 of 3 epochs leave none for reverse KL",
    ),
    "no teacher": (
        ["family=kl", "teacher.model=none"],
        "family kl learns from a teacher; name one in teacher.model",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_is_told_in_one_message_before_anything_is_trained(mistake, tmp_path):
    settings, message = MISTAKES[mistake]
    path = tmp_path / "grid.yaml"
    path.write_text("base: {seeds: 1}\n", encoding="utf-8")
    given = [part for setting in settings for part in ("--set", setting)]
    home = ["--home", str(tmp_path / "home"), "--address", "none"]
    printed = here("orchestrator.sweep", ["--grid", str(path), *home, *given], status=2)
    assert message in printed
    assert not list((tmp_path / "home").glob("store/*/*"))


def test_a_plan_says_where_long_trials_run(tmp_path):
    arguments = ["--grid", "rivals", "--home", str(tmp_path), "--dry-run"]
    printed = here("orchestrator.sweep", [*arguments, "--set", "family=[quantum, pkd, minillm]"])
    rows = [line.split("│") for line in printed.splitlines() if "│" in line]
    told = {row[1].strip(): row[2:5] for row in rows}
    assert [cell.strip() for cell in told["trials"]] == ["0", "1", "1 CPU each"]
    assert [cell.strip() for cell in told["long trials"]] == ["0", "2", "a GPU, or a node's CPUs"]
    assert {"features", "tokens", "soft labels", "teacher's states"} <= told.keys()


def test_a_body_that_is_cut_from_no_bert_is_refused(tmp_path):
    other = tiny_models.save("bloom", tmp_path / "bloom")
    arguments = ["--grid", "rivals", "--home", str(tmp_path / "home"), "--dry-run"]
    arguments += ["--set", "family=hard", "--set", f"encoder.model={other}"]
    printed = here("orchestrator.sweep", arguments, status=2)
    assert "words' embeddings, and bodies, come from a BERT, but " in printed
    assert "is of type 'bloom'; give encoder.model one of type bert, such as minilm" in printed
