"""The champion as MLflow serves it. MLflow copies this file into the model and runs it there.

So it may import nothing of this project but `qdllm`, which is copied beside it.
"""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model


class Served(mlflow.pyfunc.PythonModel):
    """A column `text` in; a column `label`, and one of probabilities by class name, out."""

    def load_context(self, context: Any) -> None:
        """Load student and encoder once, when a server starts."""
        # Not above: MLflow runs this file to log the model, and torch takes seconds to import.
        from qdllm.predictor import Predictor

        self._predictor = Predictor(Path(context.artifacts["student"]))

    def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        """Label each row's text."""
        labels, probabilities_NC = self._predictor(model_input["text"].tolist())
        named = [
            dict(zip(self._predictor.classes, row, strict=True))
            for row in probabilities_NC.tolist()
        ]
        return pd.DataFrame({"label": labels, "probabilities": named})


set_model(Served())
