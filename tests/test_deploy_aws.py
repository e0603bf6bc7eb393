"""cluster.yaml through Ray's own AWS code, against moto: what would be started, and who gets in."""

import copy
import re

import boto3
import pytest
from checkout import ROOT
from manifests import TYPES, load
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.aws.utils import resource_cache
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

MINE = "203.0.113.7/32"
WORLD = "0.0.0.0/0"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """cluster.yaml with the group and the roles that docs/cluster.md makes."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the key to SSH with
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    with mock_aws():
        config = prepare_config(load("cluster.yaml"))
        ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
        group = ec2.create_security_group(GroupName="qdllm", Description="a Ray cluster")["GroupId"]
        permissions = [
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": MINE}]},
        ]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
        iam = boto3.client("iam")
        for name in ("qdllm-head", "qdllm-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        for one in config["available_node_types"].values():
            one["node_config"]["SecurityGroupIds"] = [group]
        yield config


def inbound(group: str, config) -> set[str]:
    """The addresses that a security group lets in."""
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return {range["CidrIp"] for rule in found for range in rule["IpRanges"]}


def test_ray_opens_nothing_and_its_workers_are_spot(config):
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    groups = {one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]}
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, one in config["available_node_types"].items():
        provider.create_node(one["node_config"], {"ray-user-node-type": name}, 1)
    assert {one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]} == groups

    started = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
            started[tags["ray-user-node-type"]] = one
    assert tuple(started) == TYPES
    for name, one in started.items():
        (group,) = one["SecurityGroups"]
        assert inbound(group["GroupId"], config) == {MINE}
        assert one["MetadataOptions"]["HttpTokens"] == "required"
        assert (one.get("InstanceLifecycle") == "spot") == (name != "head")
        role = "qdllm-head" if name == "head" else "qdllm-worker"
        assert one["IamInstanceProfile"]["Arn"].endswith(f"/{role}")


def test_ray_counts_gpus_where_they_are_and_no_cpus_beside_them(config):
    config = AWSNodeProvider.fillout_available_node_types_resources(config)
    found = {name: one["resources"] for name, one in config["available_node_types"].items()}
    assert (found["head"]["CPU"], found["head"]["head"]) == (0, 1)
    assert "GPU" not in found["head"]
    assert (found["gpu_teacher"]["CPU"], found["gpu_teacher"]["GPU"]) == (0, 1)
    assert (found["cpu_student"]["CPU"], found["cpu_student"]["cpu_student"]) == (16, 1)


def test_without_a_group_of_ones_own_ray_lets_the_world_in(config):
    """The reason for line [3], and the proof that the first test would see an open port."""
    config = copy.deepcopy(config)
    for one in config["available_node_types"].values():
        del one["node_config"]["SecurityGroupIds"]
    made = bootstrap_aws(config)["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
    assert inbound(made[0], config) == {WORLD}


def as_role(name: str, monkeypatch) -> None:
    """Act with the policies that docs/cluster.md gives a role, and no others."""
    guide = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    statements = dict(re.findall(r"(store|nodes)=\$\(allow '(.*)'\)", guide))
    given = {"qdllm-head": ("store", "nodes"), "qdllm-worker": ("store",)}[name]
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    for policy in given:
        document = f'{{"Version": "2012-10-17", "Statement": [{statements[policy]}]}}'
        iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it would keep the keys that it has read


def start_and_end(config) -> None:
    """What the head's autoscaler asks of AWS."""
    resource_cache.cache_clear()  # of clients with other keys
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    student = config["available_node_types"]["cpu_student"]["node_config"]
    (node,) = provider.create_node(student, {"ray-user-node-type": "cpu_student"}, 1)
    assert provider.non_terminated_nodes({}) == [node]
    provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
    provider.terminate_node(node)
    assert provider.non_terminated_nodes({}) == []


def test_the_heads_role_suffices_to_start_and_end_nodes(config, monkeypatch):
    config = bootstrap_aws(config)
    as_role("qdllm-head", monkeypatch)
    set_initial_no_auth_action_count(0)(start_and_end)(config)


def test_the_workers_role_starts_none(config, monkeypatch):
    config = bootstrap_aws(config)
    as_role("qdllm-worker", monkeypatch)
    with pytest.raises(NodeLaunchException, match="not authorized to perform: ec2:RunInstances"):
        set_initial_no_auth_action_count(0)(start_and_end)(config)
