"""Ray: start one of one's own, or join a cluster, and notice when it is gone."""

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from orchestrator.cluster import capacity
from orchestrator.cluster.liveness import Endpoint, watched
from qdllm.errors import ConfigError, JobError

SILENCE = 2.0
"""Seconds after which a part of Ray on this machine counts as dead: it would not come back."""
STARTS = 3
"""How often Ray is started. It gives itself up after 30 seconds, which a crowded machine takes."""
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's setting for how long it waits for a head that is gone."""


@contextmanager
def connect(
    address: str = "local", lost: Callable[[str], None] = lambda place: None
) -> Iterator[Callable[[], str]]:
    """A local Ray, which ends with the block; or the cluster at `address`, which stays.

    `address`: host:port of a cluster's head, `auto` on one of its nodes, or `local`.
    The local one has token authentication and is bound to loopback; a cluster's token comes from
    the environment, as Ray itself has it. Calls `lost`, from another thread, when Ray has died.
    Gives a function that tells a cluster's nodes and hours so far, and nothing of a local Ray.
    Raises ConfigError if there is no such cluster, JobError where a local Ray does not start.
    """
    # Ray reads these when it is imported or started, and its workers inherit them.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would add 15 to what the driver has, and beside others a worker would starve.
        "RAY_worker_niceness": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # A trial that fails or ends with its first epoch has told no scheduler anything.
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it ends fit() as if all trials were done
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    if address == "local":
        _start()
        patience = SILENCE
    else:
        _join(address)
        # A cluster's head may come back before Ray gives it up.
        patience = 0.8 * float(os.environ.get(RECONNECT, "60"))
    import ray

    try:
        with watched(_endpoints(patience), lost):
            if address == "local":
                yield lambda: ""
            else:
                with capacity.metered() as meter:
                    yield meter.line
    finally:
        ray.shutdown()


def place(address: str) -> tuple[str, int | None]:
    """Where `connect` would go, in words, and its CPUs; None of a cluster, which is not asked."""
    cpus = capacity.own_cpus()
    if address != "local":
        return f"the cluster at {address}", None
    return f"a Ray of its own on this machine, {cpus} CPU{'s' * (cpus > 1)}", cpus


def _start() -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token":
        # A token of this cluster's own, so that none is left in a file.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    # What a cluster's head says of its nodes is not so of a Ray of its own.
    os.environ.pop("QDLLM_NODE_TYPES", None)
    # Without it Ray listens on all interfaces.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
    import ray

    cpus = capacity.own_cpus()
    for _ in range(STARTS):
        try:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        except Exception as error:  # Ray has no class of its own for that
            reason = str(error).strip().partition("\n")[0]
            ray.shutdown()
            _sweep_up()
        else:
            return
    raise JobError(
        f"Ray does not start on this machine; after {STARTS} tries it says: {reason} The load is "
        f"{os.getloadavg()[0]:.0f}, with {cpus} CPU{'s' * (cpus > 1)}: run the same command again "
        "when there is less to do, or with --address none, without Ray"
    )


def _sweep_up() -> None:
    """End what a start that failed has left: it would run on, and slow the next one."""
    import ray

    package = str(Path(ray.__file__).parent)
    left = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(word.startswith(package) for word in child.cmdline()):
                child.kill()
                left.append(child)
    psutil.wait_procs(left, timeout=SILENCE)


def _join(address: str) -> None:
    import ray

    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            if not port.isdigit() or "://" in host:
                raise ValueError("it is no host:port")
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"no cluster can be used at {address} ({reason}): --address or RAY_ADDRESS name the "
            "host:port of a cluster's head, or auto, on one of its nodes, with RAY_AUTH_MODE=token "
            "and its token set if it wants one; without an address a sweep has a Ray of its own"
        ) from None


def _endpoints(patience: float) -> list[Endpoint]:
    """Ray's head and its part on this machine: without either, Ray ends the process silently."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    node = next(one for one in ray.nodes() if one["NodeID"] == context.get_node_id())
    return [
        Endpoint("Ray's head", host, int(port), patience),
        Endpoint(
            "Ray on this machine", node["NodeManagerAddress"], node["NodeManagerPort"], SILENCE
        ),
    ]
