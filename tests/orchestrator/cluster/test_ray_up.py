"""`ray up`, a job, a power cut and a cut line in mid-sweep, `ray down`: on hosts made for it.

The store speaks S3, MLflow's server has PostgreSQL behind it, and only the head has the texts.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import yaml
from checkout import ROOT
from commands import THREADS
from conftest import BUCKET, KEYS, answers, ask
from driven import KINDS, TRIALS, Sweep, table, undisturbed
from hosts import Hosts, lacking
from waiting import DEADLINE, until

from jobs.store import Store
from qdllm import outside

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]

ADDRESSES = {"cloud": 5, "laptop": 9, "head": 1, "one": 11, "two": 12, "three": 13}
"""Where each is on the hosts' network."""
WORKERS = ("one", "two", "three")
STORE = f"s3://{BUCKET}/sweep"
POSTGRES = """\
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1); mkdir /tmp/database; chown postgres /tmp/database
runuser -u postgres -- $bin/initdb -D /tmp/database -A trust -E UTF8 --no-locale -N > /dev/null
runuser -u postgres -- $bin/pg_ctl -D /tmp/database -w -l /tmp/database/log \
  -o "-p 5432 -c listen_addresses=127.0.0.1 -k /tmp/database" start > /dev/null
"""
MLFLOW = """\
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false exec mlflow server --host 0.0.0.0 --port 5000 \
  --workers 1 --backend-store-uri postgresql://postgres@127.0.0.1/postgres \
  --artifacts-destination /tmp/artifacts > /tmp/mlflow.log 2>&1
"""


def s3_at(hosts: Hosts) -> str:
    """The S3 server's address."""
    return f"http://{hosts.address(ADDRESSES['cloud'])}:5055"


def mlflow_at(hosts: Hosts) -> str:
    """The MLflow server's."""
    return f"http://{hosts.address(ADDRESSES['cloud'])}:5000"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """A laptop, a cluster's machines, and what a cloud gives: S3, PostgreSQL, MLflow."""
    if reason := lacking():
        pytest.skip(f"hosts of our own: {reason}")
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("needs PostgreSQL; see `make tools`")
    made = Hosts(f"{Path(sys.executable).parent}:{os.environ['PATH']}", ROOT)
    shell = {"AWS_ENDPOINT_URL": s3_at(made), "OMP_WAIT_POLICY": "PASSIVE"} | KEYS
    # Kernels that this machine has compiled by then; each worker would take 20 s for its own.
    shell["QDLLM_CACHE"] = str(outside.cache())
    try:
        for name, last in ADDRESSES.items():
            made.up(name, last, shell)
        made.run("cloud", POSTGRES)
        made.start("cloud", "exec python -m moto.server -H 0.0.0.0 -p 5055 > /tmp/s3.log 2>&1")
        made.start("cloud", MLFLOW)
        until(lambda: answers(s3_at(made)) and answers(f"{mlflow_at(made)}/health"))
        ask("PUT", f"{s3_at(made)}/{BUCKET}")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def bucket(hosts: Hosts) -> Iterator[Store]:
    """The cluster's store, seen from this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_at(hosts))
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield Store(STORE)


@pytest.fixture(scope="module")
def cluster(hosts: Hosts) -> Iterator[str]:
    """deploy/local.yaml with the hosts' addresses, an environment that is there, and `ray up`."""
    config = yaml.safe_load((ROOT / "deploy" / "local.yaml").read_text(encoding="utf-8"))
    config["provider"] |= {
        "head_ip": hosts.address(ADDRESSES["head"]),
        "worker_ips": [hosts.address(ADDRESSES[name]) for name in WORKERS],
    }
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    *install, store, tracking, path, login = config["setup_commands"]
    assert len(install) == 3
    assert "uv" in "".join(install)
    config["setup_commands"] = [
        f"ln -sfn {Path(sys.prefix)} ~/qdllm/.venv",
        store.replace("/srv/qdllm/store", STORE),
        tracking.replace("URI=", f"URI={mlflow_at(hosts)}"),
        path,
        login,
    ]
    *stop, start = config["worker_start_ray_commands"]
    # They share this machine's cores, of which each would take all, and nobody wants their logs.
    fewer = "--num-cpus=1 --include-log-monitor=false"
    start = start.replace("ray start --block", f"ray start --block {fewer}")
    # As many threads as at home: an Intel processor sums otherwise with more or fewer.
    start = start.replace("unset OMP_NUM_THREADS", f"export OMP_NUM_THREADS={THREADS}")
    config["worker_start_ray_commands"] = [*stop, start]
    file = hosts.root / "local.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    at_home = f"cd {ROOT} && export RAY_AUTH_MODE=token &&"
    hosts.run("laptop", "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token")
    hosts.run("laptop", f"{at_home} ray up -y --no-config-cache {file}")
    hosts.start("laptop", f"{at_home} exec ray dashboard --no-config-cache {file}")
    until(lambda: not hosts.run("laptop", "< /dev/tcp/127.0.0.1/8265", check=False).returncode)
    status = "RAY_AUTH_MODE=token ray status"
    students = "/3.0 cpu_student"
    until(lambda: students in hosts.run("head", status, check=False).stdout, every=3)
    yield at_home
    hosts.run("laptop", f"{at_home} ray down -y {file}")
    # Workers notice by themselves that their head is gone; docs/cluster.md says when.
    for name in ("head", *(name for name in WORKERS if name in hosts)):
        until(lambda name=name: not hosts.run(name, "pgrep -f 'ray|gcs'", check=False).stdout)


def test_the_doctor_finds_nothing(hosts: Hosts, cluster: str) -> None:
    done = hosts.run("laptop", f"{cluster} make doctor", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert re.search(r"driver +head +cpu_student", done.stdout)
    assert "nothing stands in the way of a sweep" in done.stdout


def test_a_sweep_survives_its_cluster(
    hosts: Hosts, bucket: Store, cluster: str, tmp_path_factory
) -> None:
    """One worker loses its power, one its line for longer than Ray waits."""
    at_home, expected = undisturbed(tmp_path_factory)
    home = hosts.root / "head" / "tmp" / "home"
    shutil.copy(at_home.texts, home)
    shutil.copy(at_home.grid, home)
    arguments = "GRID=/tmp/home/tiny.yaml ARGS='--task /tmp/home/notes.csv'"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    job = hosts.start("laptop", f"{cluster} make submit {arguments}", **pipes)

    def trained() -> int:
        assert job.poll() is None, job.communicate()
        return len(bucket.fingerprints("students"))

    until(trained)
    hosts.unplug("three")
    hosts.down("two")
    cut, before = time.monotonic(), trained()
    until(lambda: trained() > before + 2)
    time.sleep(max(0, 45 - (time.monotonic() - cut)))
    hosts.plug("three")
    output, errors = job.communicate(timeout=DEADLINE)
    assert job.returncode == 0, output + errors
    print(output)
    assert "Traceback" not in output
    assert re.search(r"\d nodes, 0\.00 GPU hours, \d+\.\d\d CPU hours", output)

    there = Sweep(at_home.grid, at_home.texts, at_home.home, STORE)
    for kind in ("features", "soft-labels", "students"):
        assert there.results(kind) == at_home.results(kind)
    assert table(output) == table(expected)
    assert len(there.results()) == TRIALS
    assert {file.path.partition("/")[0] for file in bucket.files()} == KINDS
    client = mlflow.MlflowClient(mlflow_at(hosts))
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=5000)
    names = [run.data.tags["qdllm.id"] for run in runs]
    assert len(names) == len(set(names)) == len(at_home.runs())
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_no_secret_is_told(hosts: Hosts, cluster: str) -> None:
    """In no log, spec, runtime environment or row of MLflow's; but where it was put, on purpose."""
    token = (hosts.root / "laptop/tmp/home/.ray/auth_token").read_text().strip()
    given = {".ray/auth_token", ".bashrc", ".profile"}
    dump = "pg_dump -h 127.0.0.1 -U postgres postgres > /tmp/home/dump.sql"
    hosts.run("cloud", f"PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH; {dump}")
    for secret in (token, KEYS["AWS_SECRET_ACCESS_KEY"]):
        done = subprocess.run(
            ["grep", "-rlaF", "-D", "skip", secret, str(hosts.root)],
            capture_output=True,
            text=True,
            check=False,
        )
        found = [Path(line) for line in done.stdout.splitlines()]
        assert found, "it is not even where it was put"
        told = [str(path) for path in found if not any(map(str(path).endswith, given))]
        assert not told
