"""What the tests of loading texts share."""

import pytest

from qdllm.errors import ConfigError
from qdllm.specs import TaskSpec
from qdllm.texts.data import load


def labelled(dataset):
    return {
        (text, dataset.classes[label])
        for text, label in zip(dataset.texts, dataset.labels_N, strict=True)
    }


def refusal(task: TaskSpec) -> str:
    with pytest.raises(ConfigError) as error:
        load(task)
    return str(error.value)
