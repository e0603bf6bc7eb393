"""The doctor: each check by itself, and the command on clusters in which something is wrong."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import ROOT
from conftest import BUCKET, KEYS, ask, free_port
from machines import Machines, machines
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from waiting import DEADLINE, until
from werkzeug.serving import make_server

from jobs.store import Store
from jobs.store.inventory import CHECKS
from orchestrator.cluster import checks, nodes
from orchestrator.cluster.checks import CLOCKS, Diagnosis
from orchestrator.doctor import main
from qdllm.errors import ConfigError


def test_a_store_is_tried_and_left_as_it_was(store):
    store.put("mine", "text")
    assert checks.store(store.uri, "", "driver").ok
    store.put(f"{CHECKS}/token/driver", "token")
    assert checks.store(store.uri, "token", "node").ok
    store.clear(f"{CHECKS}/token")
    assert [file.path for file in store.files()] == ["mine"]


def test_drivers_that_start_at_the_same_moment_do_not_disturb_each_other(store):
    with ThreadPoolExecutor(8) as drivers:
        said = list(drivers.map(lambda _: checks.store(store.uri, "", "driver"), range(40)))
    assert [one for one in said if not one.ok] == []
    assert store.files() == []


def test_a_server_that_forgets_conditions_is_refused(s3, monkeypatch):
    """As some do that speak the protocol otherwise: two writers of one result would both win."""
    server = DomainDispatcherApplication(create_backend_app)

    def forgetful(environ: dict, start_response: Callable) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return server(environ, start_response)

    with make_server("127.0.0.1", 0, forgetful, threaded=True) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert ask("PUT", f"{address}/forgetful") == 200
        diagnosis = checks.store("s3://forgetful", "", "driver")
        other.shutdown()
    assert not diagnosis.ok
    assert diagnosis.seen == "s3://forgetful writes over what is there when it is asked not to"
    assert "If-None-Match" in diagnosis.remedy


def test_another_store_under_the_same_name_is_not_the_same(store):
    diagnosis = checks.store(store.uri, "token", "node")
    assert not diagnosis.ok
    assert "what the driver has written is not there" in diagnosis.seen
    assert ("AWS_ENDPOINT_URL" if store.uri.startswith("s3:") else "s3://") in diagnosis.remedy
    assert store.files() == []


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    assert not checks.store(str(tmp_path / "elsewhere"), "token", "node").ok
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_told_without_keys(s3):
    diagnosis = checks.store("s3://nobody/prefix", "", "driver")
    assert not diagnosis.ok
    assert "NoSuchBucket" in diagnosis.seen
    assert not [key for key in KEYS.values() if key in str(diagnosis)]


@pytest.mark.parametrize(
    ("ahead", "round_trip", "ok"),
    [
        (0, 0.01, True),
        (CLOCKS - 1, 0.01, True),
        (CLOCKS + 1, 0.01, False),
        (CLOCKS + 1, 4, True),  # a slow answer is no proof of a wrong clock
        (-60, 2, False),
    ],
)
def test_a_clock_may_differ_by_seconds_and_the_round_trip_is_no_difference(ahead, round_trip, ok):
    middle = 1e9 + round_trip / 2
    diagnosis = checks.clock(1e9, middle + ahead, 1e9 + round_trip)
    assert diagnosis.ok is ok
    assert ok or ("behind" if ahead < 0 else "ahead") in diagnosis.seen


def test_versions_that_differ_or_lack_are_told_with_the_drivers():
    here = checks.versions()
    alike = checks.same(checks.EVERYWHERE + checks.TEACHERS, here, here)
    assert all(diagnosis.ok for diagnosis in alike)
    there = here | {"torch": "1.0", "project": ""}
    names = ("project", "ray", "torch")
    compared = {diagnosis.name: diagnosis for diagnosis in checks.same(names, there, here)}
    assert compared["torch"].seen == f"1.0, the driver has {here['torch']}"
    assert compared["project"].seen == f"missing, the driver has {here['project']}"
    assert "--working-dir" in compared["project"].remedy
    assert compared["ray"].ok


def test_the_source_is_told_by_its_bytes(tmp_path):
    """As a node would import it: one changed letter is another version."""
    digests = []
    for text in ("one = 1\n", "one = 2\n"):
        for package in checks.PACKAGES:
            (tmp_path / package).mkdir(exist_ok=True)
            (tmp_path / package / "__init__.py").write_text(text)
        code = f"exec({Path(checks.__file__).read_text()!r})\nprint(source())"
        program = [sys.executable, "-c", code]
        digests.append(subprocess.check_output(program, cwd=tmp_path, env={}, text=True))
    assert digests[0] != digests[1]
    assert checks.source() == checks.source() != ""


def test_what_a_fresh_python_says_last_is_the_diagnosis():
    assert checks._python("print('one'); print('two')") == (True, "two")
    assert checks._python("import nowhere")[1] == "ModuleNotFoundError: No module named 'nowhere'"
    assert checks._python("import os; os.abort()") == (False, "it ended with status -6")


def test_no_gpu_is_told_where_ray_was_told_of_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert checks.cuda(1)[:3] == ("CUDA", False, "0 of 1 GPUs")


def test_mlflow_is_asked_and_nothing_is_made(tmp_path):
    address = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    assert checks.tracking(address) == Diagnosis("MLflow", True, "a new database")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_an_mlflow_that_is_not_there_is_told_without_its_password(scheme):
    diagnosis = checks.tracking(f"{scheme}://me:secret@127.0.0.1:{free_port()}/name?key=secret")
    assert not diagnosis.ok
    assert "127.0.0.1" in diagnosis.seen
    assert "secret" not in str(diagnosis)


@pytest.mark.slow
def test_an_mlflow_server_tells_its_version(tmp_path):
    address = f"http://me:secret@127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", address.rpartition(":")[2]]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--workers", "1"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env=os.environ | quiet, stderr=subprocess.DEVNULL)
    try:
        seen = until(lambda: (found := checks.tracking(address)).ok and found.seen, every=0.5)
        assert re.fullmatch(r"server, version 3\.\d+\.\d+", seen)
    finally:
        server.terminate()
        server.wait(DEADLINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "ftp://host"], "unknown store address 'ftp://host'"),
        (["--tracking", "ftp://host"], "unknown tracking address 'ftp://host'"),
        (["--address", "nowhere"], "no cluster can be used at nowhere"),
        (["--home", "/dev/null/home"], "cannot make the store's folder"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments, message, tmp_path, capfd):
    assert main(["--home", str(tmp_path / "home"), *arguments]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: {message}")
    assert "Traceback" not in error


def test_before_a_sweep_on_this_machine_only_the_store_is_tried(tmp_path):
    store = Store(str(tmp_path / "store"))
    nodes.before(store, "local", nodes.WORK, lambda note: None)
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot run as it is:\ndriver: store: cannot"):
        nodes.before(store, "local", nodes.WORK, lambda note: None)


def doctor(cluster: Machines, home: Path, status: int, *arguments: str) -> str:
    """What the command prints on a cluster."""
    command = [sys.executable, "-m", "orchestrator.doctor", "--home", str(home), *arguments]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=cluster.environment | {"RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == status, output
    assert "Traceback" not in output
    return output


def failures(output: str) -> dict[str, str]:
    """The line of each failure, by node type and check."""
    lines = re.findall(r"^([\w ]+: [\w ]+): (.*; .*)$", output, flags=re.MULTILINE)
    return dict(lines)


@pytest.fixture(scope="module")
def several(s3_server, tmp_path_factory) -> Iterator[tuple[Machines, Path]]:
    """Two students' nodes, one of them without keys; a teacher's without GPU, on another disk."""
    if os.geteuid():
        pytest.skip("a mount namespace needs root")
    disk = tmp_path_factory.mktemp("disk")
    server = {"AWS_ENDPOINT_URL": s3_server}
    mount = f'mount -t tmpfs none {disk} && mkdir {disk}/store && exec "$@"'
    other_disk = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    with machines() as cluster:
        cluster.environment |= server | KEYS
        cluster.head()
        cluster.node({"CPU": 1, "cpu_student": 1})
        cluster.node({"CPU": 1, "cpu_student": 1}, environment=dict.fromkeys(KEYS))
        cluster.node({"CPU": 1, "GPU": 1, "gpu_teacher": 1}, inside=other_disk)
        yield cluster, disk


@pytest.mark.cluster
def test_a_folder_of_one_machine_is_found_out(several, tmp_path):
    cluster, disk = several
    output = doctor(cluster, tmp_path, 1, "--store", str(disk / "store"))
    failed = failures(output)
    assert failed.keys() == {"gpu_teacher: store", "gpu_teacher: CUDA"}
    assert "has written is not there; give --store s3:" in failed["gpu_teacher: store"]
    assert failed["gpu_teacher: CUDA"].startswith("0 of 1 GPUs; install a driver")
    assert re.search(r"driver +head +cpu_student +gpu_teacher", output)
    assert list(disk.rglob("*")) == [disk / "store"]


@pytest.mark.cluster
def test_a_node_without_keys_is_found_out_and_none_are_told(several, s3, tmp_path):
    cluster, _ = several
    output = doctor(cluster, tmp_path, 1, "--store", f"s3://{BUCKET}/doctor test")
    failed = failures(output)
    assert failed.keys() == {"cpu_student: store", "gpu_teacher: CUDA"}
    assert "AWS_ACCESS_KEY_ID" in failed["cpu_student: store"]
    assert not [key for key in KEYS.values() if key in output]
    assert Store(f"s3://{BUCKET}/doctor test").files() == []


BEFORE = """
import sys
from jobs.store import Store
from jobs.store.inventory import CHECKS
from orchestrator import cluster
from orchestrator.cluster import nodes
address, folder = sys.argv[1:]
with cluster.connect(address):
    nodes.before(Store(folder), address, ["student"], print)
    try:
        nodes.before(Store(folder), address, ["teacher"], print)
    except nodes.ConfigError as error:
        print(error)
"""


@pytest.mark.cluster
def test_before_a_sweep_only_what_it_lacks_is_asked_for(several, tmp_path_factory):
    """Students need no GPU; the folder is one that both disks show."""
    cluster, _ = several
    folder = tmp_path_factory.mktemp("shared")
    program = [sys.executable, "-c", BEFORE, cluster.address, str(folder)]
    output = subprocess.check_output(program, cwd=ROOT, env=cluster.environment, text=True)
    said, line = output.split("this sweep cannot run as it is:\n")
    assert said == "asking 4 nodes\n" * 2
    assert line.startswith("gpu_teacher: CUDA: 0 of 1 GPUs; ")
    assert line.count("\n") == 1


@pytest.mark.slow
def test_a_type_without_a_node_gets_one_and_is_asked(tmp_path):
    """Ray's own autoscaler, with the provider that starts nodes on this machine."""
    config = {
        "cluster_name": "small",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"head": 1}},
            "cpu_student": {"resources": {"CPU": 1, "cpu_student": 1}},
            "nameless": {"resources": {"CPU": 1}},
        },
    }
    for kind in config["available_node_types"].values():
        kind |= {"node_config": {}, "max_workers": 1}
    config |= {"file_mounts": {}, "docker": {}}
    lists = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")
    commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config |= {key: [] for key in (*lists, *(f"{name}_commands" for name in commands))}
    path = tmp_path / "cluster.yaml"
    with machines() as cluster:
        provider = {"type": "fake_multinode", "gcs_address": cluster.address}
        provider |= dict.fromkeys(("disable_node_updaters", "disable_launch_config_check"), True)
        path.write_text(json.dumps(config | {"provider": provider}))
        quick = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        cluster.head(f"--autoscaling-config={path}", environment=quick)
        output = doctor(cluster, tmp_path, 1, "--store", str(tmp_path / "store"))
    assert failures(output) == {
        "nameless: a node": "there is none, and none of its own can be asked for; give the type a "
        "resource of its own name, nameless: 1, in the cluster's file"
    }
    assert re.search(r"driver +head +cpu_student +nameless", output)
