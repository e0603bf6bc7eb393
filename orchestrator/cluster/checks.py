"""What must hold before work is sent to a node, checked there; each answer is plain data.

Ray carries these functions to the nodes by value, for this project may be missing there: whatever
they need of it, or of other packages, is imported inside.
"""

import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

PACKAGES = ("jobs", "orchestrator", "qdllm")
EVERYWHERE = ("python", "ray", "project")
STUDENTS = ("torch", "transformers")
TEACHERS = ("torch", "transformers", "peft", "deepspeed")
LIBRARIES = ("ray", *TEACHERS)
CLOCKS = 5.0
"""Seconds by which clocks may differ: a spot node's last notice is given half a minute ahead."""
PATIENCE = 300.0
"""Seconds that a fresh Python gets to import what it is told to, from a cold disk."""
CONFIG = "--autoscaling-config="
"""How the autoscaler's process is told its file."""


class Diagnosis(NamedTuple):
    """What one check says of a machine: what it has seen, and if that is not well, what to do."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""


class Offer(NamedTuple):
    """A node type: what one of its nodes has, and how many there may be."""

    resources: dict[str, float]
    nodes: int


def node(uri: str, token: str, name: str, gpus: int, teacher: bool) -> dict[str, Any]:
    """All that one node can say: its diagnoses, and its versions, for the driver to compare.

    `token`: see `store`. `gpus`: how many Ray was told of. `teacher`: whether one is to run here.
    """
    diagnoses = [store(uri, token, name)]
    if gpus:
        diagnoses.append(cuda(gpus))
    if teacher:
        diagnoses.append(deepspeed())
    return {"diagnoses": diagnoses, "versions": versions()}


def store(uri: str, token: str, name: str) -> Diagnosis:
    """Whether a store can be written, read and deleted, and is the one that the driver sees.

    `token`: what the driver has written there; empty on the driver itself, and where it could not.
    """
    try:
        from jobs.store import Store, address
        from jobs.store.inventory import CHECKS
        from qdllm.errors import QdllmError
    except ImportError as error:
        return Diagnosis("store", False, f"unknown: {error}", "install this project here")
    # A folder of its own, since several sweeps may start at the same moment.
    path = f"{CHECKS}/{token or secrets.token_hex(8)}"
    file, bucket = f"{path}/{name}/file", "://" in uri and not uri.startswith("file:")
    try:
        # Store would make a folder, and leave it on a disk where nobody wants it.
        folder = address.folder(uri)
        there = not token or folder is None or folder.is_dir()
        if not there or (token and Store(uri).get(f"{path}/driver") != token):
            seen = f"{uri} is another place here: what the driver has written is not there"
            return Diagnosis("store", False, seen, _one_store(bucket))
        here = Store(uri)
        here.put(file, name, only_if_absent=True)
        replaced, read = here.put(file, name, only_if_absent=True), here.get(file)
        here.discard(file)
        if replaced:
            seen = f"{uri} writes over what is there when it is asked not to"
            remedy = "use a store that knows conditional writes (If-None-Match): without them, of "
            return Diagnosis("store", False, seen, f"{remedy}two results the later one would stand")
        if read != name or here.get(file) is not None:
            seen = f"{uri} does not give back, or not delete, what was written"
            return Diagnosis("store", False, seen, "use a store that is read as it was written")
    except QdllmError as error:
        remedy = (
            "give the user who runs Ray here the right to write, read and delete there"
            if not bucket
            else "set the bucket's keys and address where Ray is started here: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; or give the machine a role that may"
        )
        return Diagnosis("store", False, str(error), remedy)
    return Diagnosis("store", True, "read, written, deleted" if token else "written, read, deleted")


def _one_store(bucket: bool) -> str:
    if bucket:
        return "set AWS_ENDPOINT_URL to the same server on every machine of the cluster"
    return "give --store s3://bucket/prefix, or a folder that every machine has mounted"


def cuda(gpus: int) -> Diagnosis:
    """Whether torch sees as many GPUs as Ray was told of."""
    done, told = _python(
        "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    )
    seen = f"{told} of {gpus} GPUs" if done else told
    return Diagnosis(
        "CUDA",
        done and told == str(gpus),
        seen,
        "install a driver and a torch for CUDA there, or start Ray with the right --num-gpus",
    )


def deepspeed() -> Diagnosis:
    """Whether DeepSpeed can be imported, on a CPU too."""
    began = time.monotonic()
    done, told = _python(
        "import os, torch\n"
        "if not torch.cuda.is_available(): os.environ.setdefault('DS_ACCELERATOR', 'cpu')\n"
        "import deepspeed"
    )
    seen = f"in {time.monotonic() - began:.1f} s" if done else told
    return Diagnosis(
        "import deepspeed", done, seen, "install the versions of constraints.txt there"
    )


def _python(code: str) -> tuple[bool, str]:
    """Whether a fresh Python runs the code, and the last line it prints.

    Not this one: it may run work later, and what crashes here shall be a diagnosis.
    """
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return False, f"nothing came of it in {PATIENCE:.0f} s"
    done = ended.returncode == 0
    *_, last = ["", *(ended.stdout if done else ended.stderr).strip().splitlines()]
    return done, last if done or last else f"it ended with status {ended.returncode}"


def versions() -> dict[str, str]:
    """Of Python, of the libraries that are here, and a digest of this project's own source."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "project": source(),
    }
    for library in LIBRARIES:
        try:
            installed[library] = version(library)
        except PackageNotFoundError:
            continue
    return installed


def source() -> str:
    """A digest of this project's source as it would be imported here; empty where it is missing."""
    import hashlib
    from importlib.util import find_spec
    from pathlib import Path

    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return ""
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def same(
    names: tuple[str, ...], there: Mapping[str, str], here: Mapping[str, str]
) -> list[Diagnosis]:
    """A node's versions beside the driver's."""
    diagnoses = []
    for name in names:
        theirs, ours = there.get(name) or "missing", here.get(name) or "missing"
        ok = theirs == ours != "missing"
        seen = theirs if ok else f"{theirs}, the driver has {ours}"
        remedy = (
            "install the same source on every node, or submit it with the job: ray job submit "
            "--working-dir"
            if name == "project"
            else "install the versions of constraints.txt on every node, and where the driver runs"
        )
        diagnoses.append(Diagnosis(name, ok, seen, remedy))
    return diagnoses


def now() -> float:
    """Unix time there, in seconds."""
    return time.time()


def clock(began: float, there: float, ended: float) -> Diagnosis:
    """Whether a node's clock agrees, which was read between two looks at the driver's: Unix time.

    What the question and the answer took on their way is unknown, and counts for neither.
    """
    ahead, doubt = there - (began + ended) / 2, (ended - began) / 2
    ok = abs(ahead) - doubt <= CLOCKS
    seen = f"{ahead:+.2f} s" if ok else f"{abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    return Diagnosis("clock", ok, seen, "keep the time by NTP (chrony) on every machine")


def offered(gcs_address: str) -> dict[str, Offer]:
    """On the head: what its autoscaler may start, by node type.

    Nobody but the autoscaler's own process knows its file; Ray's state has no copy of it. KubeRay's
    lives in another container, so there the head's environment says it, in QDLLM_NODE_TYPES. Empty
    where there is no autoscaler.
    """
    import json
    import os
    from pathlib import Path

    import psutil
    import yaml

    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        paths = [flag.partition("=")[2] for flag in arguments if flag.startswith(CONFIG)]
        if paths and f"--gcs-address={gcs_address}" in arguments:
            config = yaml.safe_load(Path(paths[0]).expanduser().read_text(encoding="utf-8"))
            bound = config["max_workers"]
            offers = {
                name: Offer(dict(kind.get("resources") or {}), min(bound, kind["max_workers"]))
                for name, kind in config["available_node_types"].items()
                if name != config["head_node_type"]
            }
            return {name: offer for name, offer in offers.items() if offer.nodes}
    said = os.environ.get("QDLLM_NODE_TYPES") or "{}"
    try:
        told = {
            name: Offer(
                {key: float(much) for key, much in kind["resources"].items()}, kind["nodes"]
            )
            for name, kind in json.loads(said).items()
        }
        return {name: offer for name, offer in told.items() if offer.nodes > 0}
    except (AttributeError, KeyError, TypeError, ValueError):
        from qdllm.errors import ConfigError

        raise ConfigError(
            "QDLLM_NODE_TYPES on the head is not read: write it as deploy/kuberay.yaml has it, "
            '{"cpu_student": {"resources": {"CPU": 14}, "nodes": 8}}'
        ) from None


def tracking(uri: str) -> Diagnosis:
    """On the driver: whether MLflow can be reached. Leaves nothing there."""
    import os

    from orchestrator.tracking import ENVIRONMENT, address
    from orchestrator.tracking.process import Away, Refused
    from qdllm.addresses import bare, without_secrets

    os.environ |= ENVIRONMENT
    from orchestrator.tracking import backend

    try:
        return Diagnosis("MLflow", True, backend.reach(address(uri)))
    except (Away, Refused) as error:
        seen = f"{bare(uri)} cannot be used: {without_secrets(str(error), uri)}"
        return Diagnosis("MLflow", False, seen)
