"""What a store's address means: a folder, or a bucket and the way to its server."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from qdllm.errors import ConfigError

SCHEMES = ("file", "s3", "gs")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name another S3 server than Amazon's; the first one set counts."""
INSTANCE_METADATA = "169.254.169.254"
"""Where a machine of Amazon's asks for keys; elsewhere nothing answers."""
PATIENCE = timedelta(seconds=15)
"""How long a request is tried again. A server that restarts is back by then, and a person who
mistyped an address is still there. Left alone, obstore would give up after ten tries, which can
be over in three seconds, or after three minutes, which look like a hang."""
SILENCE = timedelta(minutes=1)
"""How long a server may say nothing. An upload's twelve parts of 5 MB, sent at once, must get
through in this time, which 1 MB/s can."""


def folder(uri: str) -> Path | None:
    """The folder that a path or a file: address names; None for a bucket.

    Raises ConfigError for any scheme but file:, s3: and gs:, and for an address with keys in it.
    """
    scheme, colon, rest = uri.partition("://")
    if colon and set("@:") & set(rest.partition("/")[0]):
        raise ConfigError(
            "a store's address is s3://bucket/prefix, without keys: those come from environment "
            "variables, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if colon and scheme not in SCHEMES:
        raise ConfigError(
            f"unknown store address {uri!r}: give a folder, or an address that starts with "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    if colon and scheme != "file":
        return None
    return Path(unquote(rest) if colon else uri).expanduser().absolute()


def options(uri: str) -> dict[str, Any]:
    """obstore's settings for a bucket. Keys and region it takes from the environment itself.

    Raises ConfigError for an endpoint that is no address.
    """
    client: dict[str, Any] = {
        "read_timeout": SILENCE,
        # obstore's 30 s are for a whole download, which a large file may well exceed.
        "timeout": timedelta(days=1),
    }
    if uri.startswith("s3://"):
        client["allow_http"] = _endpoint_scheme() == "http"
    backoff = {
        "init_backoff": timedelta(seconds=0.1),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    }
    retry = {"retry_timeout": PATIENCE, "max_retries": 1000, "backoff": backoff}
    return {"client_options": client, "retry_config": retry}


def _endpoint_scheme() -> str:
    name = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if name is None:
        return "https"
    parts = urlsplit(os.environ[name])
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError(
            f"{name} must be the address of an S3 server, such as http://127.0.0.1:9000, "
            "without keys in it"
        )
    return parts.scheme


def reason(error: Exception) -> str:
    """One line of an obstore error, without keys.

    After its first line an error is a dump of internals, and what a server says in refusal repeats
    the access key's id, so of that only the code and the message are kept.
    """
    text = str(error)
    if said := re.search(r"<Code>(\w+)</Code>\s*<Message>(.*?)</Message>", text, re.DOTALL):
        return f"{' '.join(said[2].split())} ({said[1]})"
    if INSTANCE_METADATA in text:
        return "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    line = text.partition("\n")[0]
    if "error sending request" in line and (url := re.search(r"https?://[^/\s]+", line)):
        return f"no answer from {url[0]}; is the server running, and AWS_ENDPOINT_URL right?"
    return line
