"""The files that start clusters, and all that can be asked about one without a cloud."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import yaml
from botocore.validate import ParamValidator
from checkout import ROOT
from jsonschema import Draft7Validator, Draft202012Validator
from lightkube.models import core_v1, meta_v1, networking_v1
from ray import autoscaler
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

LAUNCHER = ("cluster.yaml", "deploy/gcp.yaml", "deploy/local.yaml")
KUBERAY = "deploy/kuberay.yaml"
TYPES = ("head", "gpu_teacher", "cpu_student")
STANDARD = {"CPU", "GPU"}
FREE = {"file_mounts", "matchLabels", "nodeSelector"}
"""Maps whose keys are names of the user's own."""
START = {flag for parameter in start.params for flag in parameter.opts}

# The names that KubeRay's API reference gives them; its definitions are in no Python package.
CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions"}
CLUSTER |= {"headGroupSpec", "workerGroupSpecs"}
AUTOSCALER = {"idleTimeoutSeconds", "upscalingMode", "env", "envFrom", "image", "resources"}
GROUP = {"rayStartParams", "template"}
HEAD = GROUP | {"serviceType"}
WORKERS = GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def load(name: str) -> dict[str, Any]:
    """A file's first document."""
    return next(yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8")))


def policy() -> dict[str, Any]:
    """KubeRay's second document."""
    return list(yaml.safe_load_all((ROOT / KUBERAY).read_text(encoding="utf-8")))[1]


def check_launcher(config: Mapping[str, Any]) -> None:
    """Raise where Ray's launcher, or its cloud, would not know what is said."""
    _launcher().validate(config)
    validate_config(prepare_config(dict(config)))
    for name, node_type in config.get("available_node_types", {}).items():
        resources = node_type["resources"]
        assert resources.keys() - STANDARD == {name}, f"{name} has {resources}"
        check_node = {"aws": check_instance, "gcp": check_compute}[config["provider"]["type"]]
        check_node(node_type["node_config"])


@cache
def _launcher() -> Draft7Validator:
    schema = json.loads(Path(autoscaler.__file__).with_name("ray-schema.json").read_text())
    # Ray lets a provider have keys that no provider reads.
    schema["properties"]["provider"]["additionalProperties"] = False
    return Draft7Validator(schema)


def check_instance(node_config: Mapping[str, Any]) -> None:
    """Raise where EC2's RunInstances, as botocore knows it, has no such parameter."""
    found = ParamValidator().validate(
        {"MinCount": 1, "MaxCount": 1} | node_config, _run_instances()
    )
    assert not found.has_errors(), found.generate_report()


@cache
def _run_instances() -> Any:
    ec2 = botocore.session.get_session().get_service_model("ec2")
    return ec2.operation_model("RunInstances").input_shape


def check_compute(node_config: Mapping[str, Any]) -> None:
    """Raise where Compute Engine's Instance has no such field."""
    from google.cloud import compute_v1  # seconds, which all of pytest-xdist's processes would take

    compute_v1.Instance.from_json(json.dumps(node_config))


def check_kuberay(cluster: Mapping[str, Any]) -> None:
    """Raise where Ray's autoscaler, KubeRay or Kubernetes would not know what is said."""
    assert cluster.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    check_kubernetes(cluster["metadata"], meta_v1.ObjectMeta)
    spec = cluster["spec"]
    assert spec.keys() <= CLUSTER
    assert spec["autoscalerOptions"].keys() <= AUTOSCALER
    for variable in spec["autoscalerOptions"]["env"]:
        check_kubernetes(variable, core_v1.EnvVar)
    assert spec["headGroupSpec"].keys() <= HEAD
    for group in groups(cluster):
        assert group is spec["headGroupSpec"] or group.keys() <= WORKERS
        assert {f"--{name}" for name in group["rayStartParams"]} <= START
        check_kubernetes(group["template"], core_v1.PodTemplateSpec)
        for amounts in group["template"]["spec"]["containers"][0]["resources"].values():
            assert amounts.keys() <= {"cpu", "memory", "nvidia.com/gpu"}
    types = _derive_autoscaling_config_from_ray_cr(dict(cluster))["available_node_types"]
    assert tuple(own for one in types.values() for own in own_resources(one)) == TYPES
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    (told,) = (one["value"] for one in head["env"] if one["name"] == "QDLLM_NODE_TYPES")
    given = {own: one for one in types.values() for own in own_resources(one) if own != "head"}
    assert json.loads(told) == {
        name: {
            "resources": {
                key: one["resources"][key]
                for key in ("CPU", "GPU", name)
                if key in one["resources"]
            },
            "nodes": one["max_workers"],
        }
        for name, one in given.items()
    }


def check_policy(document: Mapping[str, Any]) -> None:
    """Raise where Kubernetes' NetworkPolicy has no such field."""
    assert document["apiVersion"] == "networking.k8s.io/v1"
    check_kubernetes(document, networking_v1.NetworkPolicy)


def check_kubernetes(value: Any, kind: type) -> None:
    """Raise where a type of Kubernetes' API has no such field, at any depth."""
    _strict(kind).validate(value)


@cache
def _strict(kind: type) -> Draft202012Validator:
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if definition.get("properties"):
            definition["additionalProperties"] = False
    return Draft202012Validator(schema)


def groups(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]


def own_resources(node_type: Mapping[str, Any]) -> list[str]:
    """The resources that are the project's own."""
    return [name for name in node_type["resources"] if name in TYPES]


def keys(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key whose name is not the user's to choose."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield (*path, key)
            if key not in FREE:
                yield from keys(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from keys(below, (*path, index))


def misspelt(value: Any, path: tuple[Any, ...]) -> Any:
    """The same with one key misspelt."""
    step, *rest = path
    if isinstance(value, list):
        return [misspelt(one, tuple(rest)) if i == step else one for i, one in enumerate(value)]
    if rest:
        return value | {step: misspelt(value[step], tuple(rest))}
    return {f"{key}x" if key == step else key: below for key, below in value.items()}


def pins() -> dict[str, str]:
    """The version of each package in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\S+)==(\S+)$", text, flags=re.MULTILINE))
