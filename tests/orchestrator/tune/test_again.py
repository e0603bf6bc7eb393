"""A trial that Tune starts again, though its result is there."""

from small_sweep import sweep

from jobs import kinds
from jobs.inputs import gather
from orchestrator.tune import tuner


def test_what_is_published_is_not_trained_again(tmp_path, capsys, monkeypatch):
    """As after a worker that was killed when it had published, and had not told so yet."""
    monkeypatch.setattr(tuner.ray, "get", lambda here: here)
    small = sweep(tmp_path, axes={"fit.lr": (0.01, 0.1)})
    made, missing = small.trials
    arrays = {missing.sources: gather(small.store, missing.made_from, small.dataset)}
    for trial in (made, missing):
        config = {"trial": kinds.written(trial)}
        tuner._train(config, tuner._read, arrays, small.store.uri, False)
    begins, published = capsys.readouterr().out.splitlines()
    assert begins.endswith(f" students/{missing.fingerprint} begins")
    assert published.endswith(f" students/{missing.fingerprint} is published")
    assert small.store.has(missing.kind, missing.fingerprint)
