"""The files that start clusters: known to Ray and its clouds to the last key, and closed."""

import re
import shlex
import shutil
import subprocess
import zipfile

import manifests
import pytest
from checkout import ROOT
from manifests import KUBERAY, LAUNCHER, START, TYPES, load
from ray._private.runtime_env.packaging import create_package
from ray.dashboard.modules.job.cli import submit

from orchestrator import sweep

FILES = (*LAUNCHER, KUBERAY)
STARTS = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name in LAUNCHER
    for key in ("head_start_ray_commands", "worker_start_ray_commands")
]


def check(name, document):
    (manifests.check_kuberay if name == KUBERAY else manifests.check_launcher)(document)


@pytest.mark.parametrize("name", FILES)
def test_it_is_known_to_the_last_key(name):
    document = load(name)
    check(name, document)
    missed = []
    for path in manifests.keys(document):
        try:
            check(name, manifests.misspelt(document, path))
        except Exception:  # each oracle has its own
            continue
        missed.append(path)
    assert not missed


def test_the_network_policy_is_known_to_the_last_key():
    document = manifests.policy()
    manifests.check_policy(document)
    for path in manifests.keys(document):
        with pytest.raises(Exception):  # noqa: B017, PT011
            manifests.check_policy(manifests.misspelt(document, path))


@pytest.mark.parametrize("name", ["cluster.yaml", "deploy/gcp.yaml"])
def test_the_node_types_are_these_and_workers_are_spot(name):
    types = load(name)["available_node_types"]
    assert tuple(types) == TYPES
    assert types["head"]["resources"]["CPU"] == 0
    spot = [
        "InstanceMarketOptions" in one["node_config"]
        or one["node_config"].get("scheduling", {}).get("provisioningModel") == "SPOT"
        for one in types.values()
    ]
    assert spot == [False, True, True]
    assert all(one["min_workers"] == 0 for key, one in types.items() if key != "head")


def test_own_machines_say_of_which_type_they_are():
    head, workers = (
        load("deploy/local.yaml")[f"{who}_start_ray_commands"][1] for who in ("head", "worker")
    )
    assert "--num-cpus=0" in head
    assert "'{\"head\":1}'" in head
    assert set(re.findall(r"echo (\w+)", workers)) == set(TYPES) - {"head"}


@pytest.mark.parametrize(("name", "key"), STARTS)
def test_ray_starts_closed(name, key):
    commands = load(name)[key]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 1
    before, after = starts[0].split("ray start")
    assert "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0;" in before
    assert "unset OMP_NUM_THREADS;" in before
    assert set(re.findall(r"--[a-z-]+", after)) <= START
    if key.startswith("head"):
        assert "--dashboard-host=127.0.0.1" in after


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_shell_understands_its_commands(name):
    for key, commands in load(name).items():
        if key.endswith("_commands"):
            for command in commands:
                subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("name", LAUNCHER)
def test_code_and_token_are_sent_and_nothing_else(name):
    config = load(name)
    mounts = dict(config["file_mounts"])
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert mounts == {f"~/qdllm/{source}": source for source in mounts.values()}
    assert set(mounts.values()) == {
        "pyproject.toml", "constraints.txt", "README.md", "qdllm", "jobs", "orchestrator"
    }  # fmt: skip
    assert all((ROOT / source).exists() for source in mounts.values())


@pytest.mark.parametrize("name", LAUNCHER)
def test_versions_are_those_that_were_tested(name):
    python, install = load(name)["setup_commands"][1:3]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'requires-python = ">=(3\.\d+),', project)[1] in python
    assert "--constraint ~/qdllm/constraints.txt" in install
    assert "--torch-backend auto" in install


def test_the_image_has_the_versions_that_were_tested():
    ray = manifests.pins()["ray"]
    image = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"', project, flags=re.MULTILINE)[1]
    cluster = load(KUBERAY)
    assert f"FROM rayproject/ray:{ray}-py311\n" in image
    assert cluster["spec"]["rayVersion"] == ray
    for group in manifests.groups(cluster):
        assert group["template"]["spec"]["containers"][0]["image"].endswith(f":{version}")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_open_to_the_world(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for word in ("0.0.0.0", "::/0", "IpPermissions", "LoadBalancer", "NodePort", "Ingress:"):
        assert word not in text


def test_each_instance_is_in_the_users_own_network():
    for one in load("cluster.yaml")["available_node_types"].values():
        assert one["node_config"]["SecurityGroupIds"] == ["sg-00000000000000000"]
        assert one["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
    for one in load("deploy/gcp.yaml")["available_node_types"].values():
        assert one["node_config"]["networkInterfaces"][0]["subnetwork"].endswith("/qdllm")


def test_every_pod_has_the_token_from_a_secret():
    cluster = load(KUBERAY)
    pods = [
        group["template"]["spec"]["containers"][0]["env"] for group in manifests.groups(cluster)
    ]
    for variables in (cluster["spec"]["autoscalerOptions"]["env"], *pods):
        named = {one["name"]: one for one in variables}
        assert named["RAY_AUTH_MODE"]["value"] == "token"
        assert named["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "qdllm-token"
        assert named["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
    head = cluster["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"


@pytest.mark.parametrize("name", FILES)
def test_five_lines_are_the_users(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"# \[(\d)\]", text) == ["1", "2", "3", "4", "5"]


def test_a_job_takes_code_and_grids_along_and_nothing_else(tmp_path):
    folder = tmp_path / "project"
    ours = ["orchestrator/grid/files/a.yaml", "jobs/store.py", "qdllm/a/b.py", "my_grid.yaml"]
    theirs = [".git/config", ".venv/bin/python", ".qdllm/store/a", "texts.csv", "data/a.txt"]
    theirs += ["shared/secret", "jobs/__pycache__/a.pyc", ".env", "notes/my_grid.yaml"]
    for name in ours + theirs:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, folder)
    create_package(str(folder), tmp_path / "job.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "job.zip") as package:
        sent = {name for name in package.namelist() if not name.endswith("/")}
    assert sent == set(ours)


@pytest.mark.parametrize("module", ["sweep", "doctor"])
def test_make_submits_what_ray_and_the_command_understand(module):
    target = {"sweep": "submit", "doctor": "doctor"}[module]
    command = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/ready", target]
    if module == "sweep":
        command += ["GRID=losses", "ARGS=--set fit.epochs=2"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    variables, arguments = printed.split(" .venv/bin/ray job submit ")
    assert variables == "RAY_AUTH_MODE=token"
    options = submit.make_context("submit", shlex.split(arguments)).params
    assert options["working_dir"] == "."
    python, flag, entry, *rest = options["entrypoint"]
    assert (python, flag, entry) == ("python", "-m", f"orchestrator.{module}")
    assert rest[rest.index("--home") + 1] == "~/.qdllm"
    if module == "sweep":
        assert sweep.parser().parse_args(rest).grid == "losses"
