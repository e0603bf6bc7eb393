"""`python -m orchestrator.spot aws|gcp`: a cloud's notice, as Ray's drain call for this machine.

Runs beside Ray on each spot node. A cloud tells only the machine itself that it will be taken away;
Ray, once it knows, gives that node no more work and tells what runs there, so that a teacher saves
a checkpoint. Needs no driver, and no rights in the cloud.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from qdllm import outside

LARGEST = 1 << 16
"""Bytes that are read of an answer, which has a hundred."""
PAUSE = 5.0
"""Seconds between two questions; AWS asks for these."""
LONG_POLL = 60
"""Seconds after which Google's metadata server answers though nothing has changed."""
GOOGLE_GRACE = 30.0
"""Seconds between Google's notice and the end."""
NOT_FOUND = 404
"""EC2's answer until there is a notice."""

OPENER = build_opener(ProxyHandler({}))
"""A metadata server is the machine's own: no proxy leads there."""


class Notice(NamedTuple):
    """That this machine will be taken away. `deadline`: Unix time in seconds."""

    told: str
    deadline: float


def aws() -> Iterator[Notice | None]:
    """What EC2 says each time it is asked, every `PAUSE` seconds. Raises OSError if it is mute.

    A rebalance recommendation is none: such a machine may well run on for hours.
    """
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
    life, action = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "spot/instance-action"
    while True:
        token = {"X-aws-ec2-metadata-token": _ask(f"{base}/latest/api/token", life, "PUT")[0]}
        try:
            told = outside.parsed(_ask(f"{base}/latest/meta-data/{action}", token)[0])
        except HTTPError as error:
            if error.code != NOT_FOUND:
                raise
            yield None
        else:
            end = datetime.fromisoformat(told["time"]).timestamp()
            yield Notice(f"EC2 spot notice: {told['action']} at {told['time']}", end)
        time.sleep(PAUSE)


def gcp() -> Iterator[Notice | None]:
    """The same of Compute Engine, which answers when something changes, or after a minute."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    address, wait = f"http://{host}/computeMetadata/v1/instance/preempted", ""
    while True:
        told, tag = _ask(address + wait, {"Metadata-Flavor": "Google"})
        # From here on: when it is not what we have seen.
        wait = f"?wait_for_change=true&timeout_sec={LONG_POLL}&last_etag={tag}"
        end = time.time() + GOOGLE_GRACE
        yield Notice("Compute Engine preempts this machine", end) if told == "TRUE" else None


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> tuple[str, str]:
    """The answer's text and its ETag."""
    request = Request(url, headers=headers, method=method)  # noqa: S310
    with OPENER.open(request, timeout=LONG_POLL + 5) as answer:
        return answer.read(LARGEST).decode().strip(), answer.headers["ETag"]


CLOUDS: dict[str, Callable[[], Iterator[Notice | None]]] = {"aws": aws, "gcp": gcp}


class Raylet(NamedTuple):
    """Ray on this machine: its process, its node's id, and its head's address."""

    process: psutil.Process
    node: str
    head: str

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        with suppress(psutil.NoSuchProcess):
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        return False


def raylets() -> list[Raylet]:
    """Every one on this machine: a notice is for all of them."""
    running = []
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            pairs = (flag.partition("=") for flag in process.info["cmdline"] or [])
            flags = {name: value for name, _, value in pairs}
            if "--node_id" in flags:
                running.append(Raylet(process, flags["--node_id"], flags["--gcs-address"]))
    return running


def watch(cloud: str, log: Callable[[str], None]) -> None:
    """Wait for Ray, then for a notice, and drain what there is of Ray on this machine.

    Returns when that is done, or when Ray has ended here. A metadata server that does not answer is
    asked on; `log` is told once.
    """
    while not (here := raylets()):
        time.sleep(PAUSE)
    log(f"watching {cloud} for {len(here)} node{'s' * (len(here) > 1)} of Ray")
    answers, mute = CLOUDS[cloud](), False
    while any(raylet.runs for raylet in here):
        try:
            notice = next(answers)
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            if not mute:
                log(f"the metadata server of {cloud} does not answer ({error}); asking on")
            answers, mute = CLOUDS[cloud](), True
            time.sleep(PAUSE)
            continue
        mute = False
        if notice:
            log(notice.told)
            for raylet in here:
                drain(raylet, notice, log)
            return


def drain(raylet: Raylet, notice: Notice, log: Callable[[str], None]) -> None:
    """Tell Ray's head, again and again until it has heard or the time is up."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason
    from ray.exceptions import RayError

    reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    while time.time() < notice.deadline and raylet.runs:
        with suppress(RayError):
            accepted, why = GcsClient(address=raylet.head).drain_node(
                raylet.node, reason, notice.told, int(1000 * notice.deadline)
            )
            log(f"node {raylet.node}: {'draining' if accepted else why}")
            return
        time.sleep(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0."""
    command = argparse.ArgumentParser(
        prog="python -m orchestrator.spot",
        description="Watch for this spot machine's end, and have Ray drain it before.",
    )
    command.add_argument("cloud", choices=sorted(CLOUDS), help="whose machine this is")
    cloud = command.parse_args(arguments).cloud
    watch(cloud, lambda line: print(time.strftime("%FT%T"), line, file=sys.stderr, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
