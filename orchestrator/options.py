"""The flags that say where everything is, for each command that has them."""

import argparse
import os
import re
from pathlib import Path
from typing import NamedTuple

from jobs.store import Store, address
from orchestrator import cluster, tracking
from qdllm import outside
from qdllm.addresses import bare
from qdllm.errors import ConfigError
from qdllm.messages import shown


class Locations(NamedTuple):
    """Where a command works."""

    home: Path
    store: Store
    tracking: str
    """MLflow's address."""
    ray: str
    """A cluster's address, `local` for a Ray of the command's own, or `none`."""


def add(command: argparse.ArgumentParser) -> None:
    """Add --home, --store, --tracking and --address."""
    command.add_argument(
        "--home",
        default=".qdllm",
        metavar="DIR",
        help="folder for everything a sweep writes (default: %(default)s)",
    )
    command.add_argument(
        "--store",
        metavar="URI",
        help="folder or s3://bucket/prefix for results and checkpoints (default: $QDLLM_STORE, or "
        "HOME/store)",
    )
    command.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow's server or database (default: $MLFLOW_TRACKING_URI, or HOME/mlflow.db)",
    )
    command.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="a Ray cluster to run on, or 'auto' on one of its nodes; or 'none', all in this one "
        "process, for a debugger (default: $RAY_ADDRESS, or a Ray of its own on this machine)",
    )


def read(options: argparse.Namespace) -> Locations:
    """What the flags and the environment say. Raises ConfigError for what cannot be one of them."""
    home = outside.path(options.home)
    own = f"sqlite:///{home / 'mlflow.db'}"
    uri = options.tracking or os.environ.get("MLFLOW_TRACKING_URI") or own
    if uri == own and (odd := re.search(r"\?|%[\da-fA-F]{2}", own)):
        raise ConfigError(
            f"--home {shown(str(home))}: the address of MLflow's database in it could not have the "
            f"{odd[0]!r}; choose another home, or say with --tracking where MLflow is"
        )
    found = tracking.address(uri)
    file = Path(found.removeprefix("sqlite:///").partition("?")[0])
    if found.startswith("sqlite") and not file.parent.is_dir() and home not in file.parents:
        raise ConfigError(f"tracking address {bare(found)}: there is no folder {file.parent}")
    return Locations(
        home=home,
        tracking=found,
        ray=cluster.address(options.address or os.environ.get("RAY_ADDRESS") or "local"),
        # Last, for it makes a folder.
        store=Store(address.chosen(options.store, home)),
    )
