"""What a store's address means: a folder, or a bucket and the way to its server."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qdllm import outside
from qdllm.addresses import bare, without_secrets
from qdllm.errors import ConfigError
from qdllm.messages import shown

SCHEMES = ("file", "s3", "gs")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name another S3 server than Amazon's; the first one set counts."""
INSTANCE_METADATA = "169.254.169.254"
"""Where a machine of Amazon's asks for keys; elsewhere nothing answers."""
_MISSPELT = re.compile(r"(file|s3a?|gs|gcs|https?|ftp|az|hdfs):", re.IGNORECASE)
_BUCKET = re.compile(r"[\w.-]{1,255}", re.ASCII)
_STEP = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/#?\ud800-\udfff]{1,255}")
_ENDPOINT = re.compile(r"(https?)://(?:[\w.-]{1,253}|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?/?")
PATIENCE = timedelta(seconds=15)
"""How long a request is tried again. A server that restarts is back by then, and a person who
mistyped an address is still there. Left alone, obstore would give up after ten tries, which can
be over in three seconds, or after three minutes, which look like a hang."""
SILENCE = timedelta(minutes=1)
"""How long a server may say nothing. An upload's twelve parts of 5 MB, sent at once, must get
through in this time, which 1 MB/s can."""


def chosen(given: str | None, home: Path) -> str:
    """Where results are: as given, else as $QDLLM_STORE says, else in a folder of a home's."""
    return given or os.environ.get("QDLLM_STORE") or str(home / "store")


def existing(given: str | None, home: Path, options: str = "--store") -> str:
    """As `chosen`, of a store that nobody has to make.

    Raises ConfigError, naming the options that say where one is, for a folder that is not there.
    """
    uri = chosen(given, home)
    where = folder(uri)
    if where and not where.is_dir():
        raise ConfigError(f"there is no store in {where}; say with {options} where it is")
    return uri


def folder(uri: str) -> Path | None:
    """The folder that a path or a file: address names; None for a bucket.

    Raises ConfigError for any scheme but file:, s3: and gs:, and for an address with keys in it, a
    query, or another way than down from its bucket.
    """
    scheme, colon, rest = uri.partition("://")
    if colon and scheme != "file" and (set("@:") & set(rest.partition("/")[0]) or "?" in rest):
        raise ConfigError(
            f"a store's address is s3://bucket/prefix, without keys and without a query, but "
            f"{bare(uri)} was given: keys come from environment variables, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if (colon and scheme not in SCHEMES) or (not colon and _MISSPELT.match(uri)):
        raise ConfigError(
            f"unknown store address {shown(bare(uri))}: give a folder, or an address that starts "
            "with " + ", ".join(f"{known}://" for known in SCHEMES)
        )
    if colon and scheme != "file":
        bucket, *down = unquote(rest).rstrip("/").split("/")
        if bucket and not (_BUCKET.fullmatch(bucket) and all(map(_STEP.fullmatch, down))):
            raise ConfigError(
                f"store address {shown(bare(uri))} is not s3://bucket/prefix: a bucket's name has "
                "letters, digits, dots, hyphens and underscores, and a prefix no empty step, no "
                "'..', no '#' and no control character"
            )
        return None
    if colon and not rest.startswith(("/", "~")):
        raise ConfigError(f"{shown(bare(uri))} names no folder: write file:///folder")
    return outside.path(unquote(rest) if colon else uri)


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
    given = os.environ[name]
    # A server may be answered to by what is in a query or before an @; errors would repeat it.
    match = _ENDPOINT.fullmatch(given)
    if not match or not (match[2] is None or 0 < int(match[2]) < 2**16):
        raise ConfigError(
            f"{name} must be the address of an S3 server, such as http://127.0.0.1:9000, "
            f"without keys in it, but {shown(bare(given))} was given"
        )
    return match[1]


def reason(error: Exception) -> str:
    """One line of an obstore error, without keys.

    After its first line an error is a dump of internals, and what a server says in refusal repeats
    the access key's id, so of that only the code and the message are kept.
    """
    text = without_secrets(str(error))
    if said := re.search(r"<Code>(\w+)</Code>\s*<Message>(.*?)</Message>", text, re.DOTALL):
        return f"{' '.join(said[2].split())} ({said[1]})"
    if INSTANCE_METADATA in text:
        return "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    line = text.partition("\n")[0]
    if "error sending request" in line and (url := re.search(r"https?://[^/\s]+", line)):
        return f"no answer from {url[0]}; is the server running, and AWS_ENDPOINT_URL right?"
    return line
