"""The champion as MLflow serves it. MLflow copies this file into the model and runs it there.

So it may import nothing of this project but `qdllm`, which is copied beside it.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

COLUMN = "text"
BODY = 32 * 2**20
"""Bytes that a request may have."""
MESSAGE = 2000
"""Characters of a message about a request that failed."""


class Served(mlflow.pyfunc.PythonModel):
    """A column `text` in; a column `label`, and one of probabilities by class name, out."""

    def load_context(self, context: Any) -> None:
        """Load student and encoder once, when a server starts."""
        # Not above: MLflow runs this file to log the model, and torch takes seconds to import.
        from qdllm.predictor import Predictor

        self._predictor = Predictor(Path(context.artifacts["student"]))
        _guard_server()

    def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        """Label each row's text. A row without one has no label and no probabilities.

        Takes a table with a column `text`, whose index is kept; or texts alone, as a list, an array
        or a series, of which MLflow must not hear: it would check what it is given by its type.
        """
        column = _column(model_input)
        texts = [_text(row, value) for row, value in enumerate(column)]
        labels, probabilities_NC = self._predictor(texts)
        named = [
            {} if label is None else dict(zip(self._predictor.classes, row, strict=True))
            for label, row in zip(labels, probabilities_NC.tolist(), strict=True)
        ]
        answer = {"label": pd.Series(labels, dtype=object), "probabilities": named}
        return pd.DataFrame(answer).set_index(column.index)


def _column(given: Any) -> pd.Series:
    """The texts that were sent, in whichever of MLflow's forms."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, np.ndarray):
        given = given.reshape(-1).tolist()
    if isinstance(given, pd.Series):
        return given
    if isinstance(given, Mapping):
        try:
            given = pd.DataFrame({key: np.atleast_1d(value) for key, value in given.items()})
        except ValueError:
            raise _refusal("a table's columns are lists of one length, and of no lists") from None
    elif isinstance(given, Sequence):
        tables = len(given) > 0 and all(isinstance(row, Mapping) for row in given)
        if not tables:
            return pd.Series(list(given), dtype=object)
        given = pd.DataFrame(list(given))
    if not isinstance(given, pd.DataFrame):
        raise _refusal(f"a table or a list of texts is wanted, not a {type(given).__name__}")
    if list(given.columns).count(COLUMN) != 1:
        names = ", ".join(map(repr, given.columns[:9])) or "none"
        raise _refusal(f"one column named {COLUMN!r} is wanted; the columns here: {names}")
    return given[COLUMN]


def _text(row: int, value: Any) -> str | None:
    """A cell as a text; None where there is none. A whole number is written as one."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, bytes | Mapping | Sequence | np.ndarray) and not isinstance(value, str):
        raise _refusal(
            f"row {row + 1} holds a {type(value).__name__}; a text, a number or nothing is wanted"
        )
    return str(value)


def _refusal(message: str) -> MlflowException:
    """What MLflow's server answers with status 400, and its commands print."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _guard_server() -> None:
    """Have the server that loads this model refuse what is too long, and keep its paths to itself.

    `mlflow models serve` has no settings for it: it loads the model, then makes its application
    with the class that stands in FastAPI's module.
    """
    from mlflow.pyfunc import scoring_server

    if scoring_server._SERVER_MODEL_PATH in os.environ:
        import fastapi
        from starlette.middleware import Middleware

        guarded: Any = partial(fastapi.FastAPI, middleware=[Middleware(Guard)])
        fastapi.FastAPI = guarded  # type: ignore[misc]


class Guard:
    """Between a server's socket and its application, in ASGI's terms."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request. A body is refused by the length that it declares, or once it is longer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit():
            await _answer(send, 400, "Content-Length is no number")
            return
        body = bytearray()
        if int(declared) <= BODY:
            more = True
            while more and len(body) <= BODY:
                event = await receive()
                body += event.get("body", b"")
                more = event.get("more_body", False)
        if max(len(body), int(declared)) > BODY:
            await _answer(send, 413, f"a request may have {BODY:,} bytes; send fewer rows at once")
            return
        await self._pass_on(scope, bytes(body), receive, send)

    async def _pass_on(self, scope: Any, body: bytes, receive: Any, send: Any) -> None:
        whole = [{"type": "http.request", "body": body, "more_body": False}]
        start: dict[str, Any] = {}
        answer = bytearray()

        async def read() -> Any:
            return whole.pop() if whole else await receive()

        async def write(event: Any) -> None:
            """MLflow's answers to what fails tell its own files, line by line, and all it got."""
            if event["type"] == "http.response.start" and event["status"] >= 400:
                start.update(event)
            elif start:
                answer.extend(event.get("body", b""))
                if not event.get("more_body", False):
                    await _answer(send, start["status"], _reason(bytes(answer)))
            else:
                await send(event)

        await self._app(scope, read, write)


def _reason(answer: bytes) -> str:
    """What a person should read of an answer of MLflow's that says what went wrong."""
    try:
        said = str(json.loads(answer)["message"])
    except (KeyError, TypeError, ValueError):
        said = answer.decode(errors="replace")
    return said.rpartition("\nError: ")[2]


async def _answer(send: Any, status: int, message: str) -> None:
    body = json.dumps({"message": message[:MESSAGE]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


set_model(Served())
