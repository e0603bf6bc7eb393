"""Data sets on the Hugging Face hub: their tables are downloaded once, at a commit, and then read
as a folder is."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.models import COMMIT, PATIENCE, commit
from qdllm.texts import files
from qdllm.texts.folders import UNLABELLED
from qdllm.texts.formats.columnar import names_of
from qdllm.texts.splits import splits_in
from qdllm.visible import visible

LARGEST = 4 << 30
"""Bytes of a data set: what is larger is no set of texts that a teacher could be tuned on here."""
CARD = "README.md"
_ADDRESS = re.compile(
    r"hf://(?:datasets/)?(?P<id>(?:[\w.-]+/)?[\w.-]+)"
    r"(?:@(?P<revision>refs/[\w.-]+/[\w.-]+|[\w.-]+))?(?:/(?P<folder>[^@]+?))?/?",
    re.ASCII,
)


class Fetched(NamedTuple):
    """A data set that lies on this machine."""

    folder: Path
    name: str
    address: str
    """With the commit that its revision stands for."""
    names: Mapping[str, tuple[str, ...]]
    """By column, what its numbers are called, where the data set's card says it."""


def fetch(address: str, progress: Callable[[int, int], None] | None = None) -> Fetched:
    """Download what the cache lacks of `hf://OWNER/NAME[@REVISION][/FOLDER]`.

    `progress` gets the bytes done and to do. Raises ConfigError for an address that is none, and
    for a data set that cannot be had, holds no tables, or several sets of them.
    """
    match = _ADDRESS.fullmatch(address)
    if not match or match["id"].startswith("datasets/"):
        raise ConfigError(
            f"{address!r} is no data set of the hub: write hf://OWNER/NAME, with @REVISION after "
            "it for another commit, branch or tag than main, and /FOLDER for one folder of it"
        )
    repository, revision, folder = match["id"], match["revision"] or "main", match["folder"] or ""
    if not COMMIT.fullmatch(revision):
        revision = commit(repository, revision, "dataset")
    from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download
    from huggingface_hub import get_cached_repo_tree as cached_tree

    here: Any = {"repo_id": repository, "repo_type": "dataset", "revision": revision}
    with _told(address):
        try:
            cached_tree(**here)
        except errors.CachedRepoTreeNotFoundError:
            # It says at once what snapshot_download finds out in half a minute of tries.
            HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE)
        home = Path(snapshot_download(**here, allow_patterns=[CARD]))
        listed = {file.path: file.size for file in cached_tree(**here)}
    wanted = _wanted(address, listed, folder)
    total, done = sum(wanted.values()), 0
    for path, size in wanted.items():
        with _told(address):
            hf_hub_download(filename=path, **here)
        done += size
        if progress:
            progress(done, total)
    name = "-".join(filter(None, [repository.rpartition("/")[2], *folder.split("/")]))
    pinned = f"hf://{repository}@{revision}" + (f"/{folder}" if folder else "")
    return Fetched(home / folder, name, pinned, _names(home / CARD, folder))


def _wanted(address: str, listed: Mapping[str, int], folder: str) -> dict[str, int]:
    """The tables of a folder of the data set, with their sizes in bytes."""
    found: dict[str, int] = {}
    for path, size in sorted(listed.items()):
        place = PurePosixPath(path)
        hidden = any(part.startswith(".") for part in place.parts)
        inside = place.is_relative_to(folder) if folder else True
        suffix = files.named(Path(path)).suffix
        if inside and not hidden and suffix in (*files.TABLES, ".txt"):
            found[path] = size
    if not found:
        raise ConfigError(
            f"{visible(address)} holds no tables or texts{f' in {folder}' if folder else ''}, but "
            f"{some(listed)}. Of many data sets the hub keeps Parquet at @refs/convert/parquet"
        )
    tables = [PurePosixPath(path) for path in found if not path.endswith(".txt")]
    inner = {path.relative_to(folder).parts[0] for path in tables if str(path) != folder}
    sets = [name for name in sorted(inner) if not (splits_in(name) or name in UNLABELLED)]
    if len(sets) > 1 and not any(str(PurePosixPath(folder, name)) in found for name in inner):
        raise ConfigError(
            f"{visible(address)} holds {len(sets)} sets of tables: {some(sets)}. Name one, such as "
            f"{visible(address.rstrip('/'))}/{sets[0]}"
        )
    if sum(found.values()) > LARGEST:
        raise ConfigError(
            f"{visible(address)} holds {sum(found.values()) / 1e9:.1f} GB of tables, more than the "
            f"{LARGEST / 1e9:.1f} GB that are read; name a folder of it"
        )
    return found


def _names(card: Path, folder: str) -> dict[str, tuple[str, ...]]:
    """Names of classes by column, as the card of a data set has them for one of its sets."""
    from huggingface_hub.repocard import metadata_load

    try:
        described: Any = metadata_load(card) or {}
        sets = described.get("dataset_info", [])
        sets = sets if isinstance(sets, list) else [sets]
        meant = [one for one in sets if one.get("config_name") in (folder, "default")] or sets
        features = meant[0]["features"] if len(meant) == 1 else []
        return {
            one["name"]: names_of(one["dtype"])
            for one in features
            if isinstance(one["dtype"], dict)
        }
    except Exception:  # whoever writes a card writes what he likes; only tables have to be right
        return {}


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What the hub's client says, as one error; and nothing of it on the terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, logging
    from huggingface_hub.utils import disable_progress_bars as hide
    from huggingface_hub.utils import enable_progress_bars as show

    hidden, level = are_progress_bars_disabled(), logging.get_verbosity()
    hide()
    logging.set_verbosity_error()
    try:
        yield
    except Exception as error:  # from it, its HTTP client or Python: they have no root in common
        reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
        raise ConfigError(
            f"cannot download {visible(address)}: {reason}. Without a network, give a folder that "
            "holds its files with --data"
        ) from None
    finally:
        logging.set_verbosity(level)
        if not hidden:
            show()
