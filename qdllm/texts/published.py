"""The texts that QD-LLM's authors published: how their folder is laid out, and how to fetch it.

Their repository states no licence, so the texts are pointed to, never shipped.
"""

import hashlib
import http.client
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.request import OpenerDirector, Request, build_opener

from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.visible import visible

COMMIT = "b716046c92fb9d66286b72e04b6d7e5accb302c1"
URL = f"https://raw.githubusercontent.com/Lilingxiao-bupt/QD-LLM/{COMMIT}/Dataset"

TASKS = {
    "emotion": {"negative": "senti/train_neg.txt", "positive": "senti/train_pos.txt"},
    "hiding": {"cover": "stega/cover.txt", "stego": "stega/stego.txt"},
    "thematic": {
        "business": "topic/train_business.txt",
        "sci": "topic/train_sci.txt",
        "sport": "topic/train_sport.txt",
        "world": "topic/train_world.txt",
    },
}
"""Each task's classes in the order of the authors' class numbers, and the file of each."""

SHA256 = {
    "senti/train_neg.txt": "b3d8a2265429852c44121d627901c664e826284009e1cf7cf003f0dced5d2c47",
    "senti/train_pos.txt": "be23c612f032180f1e9fbf1ef0cb63116d9406a746ee0404649ac0fe9c3c49fe",
    "stega/cover.txt": "0fffb0ed7a15a93755c9f74886b63cdeca53e325e269d3355babe6b3b433901d",
    "stega/stego.txt": "9090bb549b1f901b0e096b24aff420a848aa08942de29aed401e5213157eff28",
    "topic/train_business.txt": "78366a40958aab012a22e3628bba03494f126556b58dbea3371855cc1bc8bdc4",
    "topic/train_sci.txt": "bdbc6b6c7573b9030804892d03ac7d92805b1da17c793b051e1e00bdba9dd0d4",
    "topic/train_sport.txt": "23236bf0b2a0f1c54ae9c8ab96079a9ba5f4e92f070a64e4df703f3eb20308d4",
    "topic/train_world.txt": "22f3bee8fa793b52a5863656c2a1eec002e3e19ea6df61210fd9151877b4200e",
}

OTHER_WAYS = (
    "use --data DIR for a folder of your own, or --task sample-thematic, sample-emotion or "
    "sample-hiding for texts made on the spot"
)
CHUNK = 1 << 16
LARGEST = 1 << 24
"""Bytes that an answer may have; the published files have less than a tenth of it each."""


def class_files(folder: Path, task: str) -> dict[str, Path]:
    """The file of each class of a task of TASKS, in class order.

    They lie in the task's own subfolder of `folder`, or in `folder` itself. Raises ConfigError
    naming what is missing and what is there.
    """
    paths = [PurePosixPath(path) for path in TASKS[task].values()]
    subfolder = folder / paths[0].parent
    home = subfolder if subfolder.is_dir() else folder
    files = {label: home / path.name for label, path in zip(TASKS[task], paths, strict=True)}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise ConfigError(
            f"task {task!r} needs {', '.join(missing)} in {visible(subfolder)} or in "
            f"{visible(folder)} itself, but {visible(home)} holds {contents(home)}. Point --data "
            f"to the folder that holds {paths[0].parent}, or use --data published to download the "
            "authors' texts"
        )
    return files


def tasks_in(folder: Path) -> list[str]:
    """The tasks of TASKS whose subfolders a folder holds, with all of their files."""
    return [
        task
        for task, files in TASKS.items()
        if all((folder / path).is_file() for path in files.values())
    ]


def contents(folder: Path) -> str:
    """What a folder holds, for a message."""
    return some(sorted(path.name for path in folder.iterdir()))


def cache_folder() -> Path:
    """Where downloads are kept, see `outside.cache`."""
    return outside.cache() / "published" / COMMIT


def download(
    files: Mapping[str, str] = SHA256,
    *,
    url: str = URL,
    timeout: float = 30.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetch what the cache lacks, and return the folder that holds all `files`.

    `files` maps paths below `url` to sha256 digests. A file appears in the cache whole and with
    the right digest, or not at all, and none larger than `LARGEST`. `progress` gets the bytes
    fetched and the bytes to fetch; `timeout` is in seconds, for each answer of the server. Raises
    ConfigError where the network, sizes, digests or the cache folder fail.
    """
    folder = cache_folder()
    wanted = [path for path, sha256 in files.items() if _sha256(folder / path) != sha256]
    opener = build_opener()
    total = sum(_size(opener, f"{url}/{path}", timeout) for path in wanted)
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    for path in wanted:
        body = _get(opener, f"{url}/{path}", timeout, count)
        given = hashlib.sha256(body).hexdigest()
        if given != files[path]:
            raise ConfigError(
                f"{url}/{path} arrived with sha256 {given} ({len(body):,} bytes), but "
                f"{files[path]} is expected; nothing was kept. Try again, or {OTHER_WAYS}"
            )
        _put(folder / path, body)
    return folder


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _size(opener: OpenerDirector, url: str, timeout: float) -> int:
    """What the server says it is; 0 where it says nothing that is a number of bytes."""
    with _answer(opener, "HEAD", url, timeout) as response:
        said = response.headers.get("Content-Length", "")
    return _bounded(int(said), url) if re.fullmatch("[0-9]{1,18}", said) else 0


def _get(opener: OpenerDirector, url: str, timeout: float, count: Callable[[int], None]) -> bytes:
    body = bytearray()
    with _answer(opener, "GET", url, timeout) as response:
        while chunk := response.read(CHUNK):
            body += chunk
            _bounded(len(body), url)
            count(len(chunk))
        if response.length:
            raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _bounded(size: int, url: str) -> int:
    if size > LARGEST:
        raise ConfigError(
            f"{url} sends more than {LARGEST:,} bytes, and the published texts are smaller; "
            f"nothing was kept. Try again, or {OTHER_WAYS}"
        )
    return size


@contextmanager
def _answer(
    opener: OpenerDirector, method: str, url: str, timeout: float
) -> Iterator[http.client.HTTPResponse]:
    request = Request(url, method=method)  # noqa: S310  the scheme is URL's, or a test's
    try:
        with opener.open(request, timeout=timeout) as response:
            yield response
    except (OSError, http.client.HTTPException) as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise ConfigError(
            f"cannot download {url}: {reason}. The published texts need a network; "
            f"without one, {OTHER_WAYS}"
        ) from error


def _put(path: Path, body: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:
            whole = Path(aside, path.name)
            whole.write_bytes(body)
            whole.replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}. "
            "Set QDLLM_CACHE to a folder that can be written"
        ) from error
