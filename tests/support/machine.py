"""This machine and its rehearsal cloud, for tests: commands, traces, and an organiser who launches hosts with an SDK alone."""

import os
import re
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3

from rehearsal.hosts.image import LABEL

ROOT = Path(__file__).parents[2]
DEBIAN = "/aws/service/debian/release/12/latest/amd64"
ORGANISER, STRANGER = "198.19.0.1", "198.19.0.2"
SSH = ["BatchMode=yes", "ConnectTimeout=3", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def rehearsal(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m rehearsal`; the first `up` on a machine builds an image."""
    return subprocess.run([sys.executable, "-m", "rehearsal", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600)


def output(*command: str) -> str:
    """Run a command of this machine as root and return what it prints."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    return subprocess.run([*sudo, *command], capture_output=True, text=True, check=True, timeout=60).stdout


def environment() -> dict[str, str]:
    """Return what `env` exports."""
    return dict(re.findall(r"^export (\w+)=(.*)$", rehearsal("env").stdout, re.M))


def traces() -> dict[str, object]:
    """Return everything that a cloud changes on a machine."""
    # One that ends has given up its command line first, and is no zombie yet.
    processes = [line for line in output("ps", "-eo", "stat,args").splitlines() if not re.match(r"Z|\S+\s+\[", line)]
    return {
        "addresses": output("ip", "-oneline", "address"),
        "routes": output("ip", "route", "show", "table", "all"),
        "rules": output("nft", "list", "ruleset"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "containers": output("podman", "ps", "--all", "--quiet", "--filter", f"label={LABEL}"),
        "mounts": sorted(
            line for line in Path("/proc/mounts").read_text().splitlines() if "overlay-containers" in line or "/netns" in line
        ),
        "processes": sorted(
            line.split(None, 1)[1] for line in processes if re.search(r"rehearsal\.server|conmon|podman events|/sbin/init", line)
        ),
        "disk mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if " /var/lib/rehearsal/" in line],
        "disks": Path("/var/lib/rehearsal").exists() and output("ls", "/var/lib/rehearsal"),
        "state": Path("/run/rehearsal").exists(),
    }


class Organiser:
    """Somebody with the cloud's key, a key pair and a security group of their own; leaves nothing of it."""

    def __init__(self, folder: Path) -> None:
        self.env = environment()
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.key = folder / "key.pem"
        self.image = self.client("ssm").get_parameter(Name=DEBIAN)["Parameter"]["Value"]
        self.ec2 = self.client("ec2")
        material = self.ec2.create_key_pair(KeyName=self.name, KeyType="ed25519")["KeyMaterial"]
        self.key.write_text(material)
        self.key.chmod(0o600)
        self.group = self.new_group()
        self.open(22)

    def client(self, service: str, **other: str):
        key = {"aws_access_key_id": self.env["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": self.env["AWS_SECRET_ACCESS_KEY"]}
        return boto3.client(
            service, **({"endpoint_url": self.env["AWS_ENDPOINT_URL"], "region_name": self.env["AWS_REGION"]} | key | other)
        )

    def new_group(self) -> str:
        return self.ec2.create_security_group(GroupName=f"{self.name}-{uuid.uuid4().hex[:4]}", Description="a test")["GroupId"]

    def open(self, port: int, source: str = f"{ORGANISER}/32") -> None:
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[permission(port, source)])

    def close(self, port: int, source: str = f"{ORGANISER}/32") -> None:
        self.ec2.revoke_security_group_ingress(GroupId=self.group, IpPermissions=[permission(port, source)])

    def launch(self, count: int = 1, **extra) -> list[str]:
        """Launch hosts, wait until EC2 calls them ok, and return their ids."""
        tags = [{"Key": "test", "Value": self.name}, {"Key": "classroom:seat", "Value": "s01"}]
        wanted = {
            "ImageId": self.image,
            "InstanceType": "t3.large",
            "KeyName": self.name,
            "SecurityGroupIds": [self.group],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
        }
        ids = [one["InstanceId"] for one in self.ec2.run_instances(MinCount=count, MaxCount=count, **(wanted | extra))["Instances"]]
        self.wait("instance_status_ok", ids)
        return ids

    def wait(self, what: str, ids: list[str]) -> None:
        """Wait with an SDK's own waiter, two minutes at most."""
        self.ec2.get_waiter(what).wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def see(self, instance_id: str) -> dict:
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def ssh(self, instance_id: str, command: str, source: str = ORGANISER) -> subprocess.CompletedProcess[str]:
        flags = [part for option in SSH for part in ("-o", option)]
        target = ["-b", source, "-i", str(self.key), f"ubuntu@{self.see(instance_id)['PublicIpAddress']}", command]
        return subprocess.run(["ssh", "-n", *flags, *target], capture_output=True, text=True, timeout=60)

    def says(self, instance_id: str, command: str) -> str:
        done = self.ssh(instance_id, command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def reachable(self, ids: list[str]) -> list[bool]:
        """Tell for each host whether SSH lets the organiser in."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda one: self.ssh(one, "true").returncode == 0, ids))

    def boots_again(self, instance_id: str, before: str) -> str:
        """Wait for another boot id, by SSH, for a minute at most, and return it."""
        latest = time.monotonic() + 60
        while time.monotonic() < latest:
            done = self.ssh(instance_id, BOOT_ID)
            if done.returncode == 0 and done.stdout.strip() != before:
                return done.stdout.strip()
            time.sleep(0.5)
        raise AssertionError(f"{instance_id} did not boot again")

    def leave(self) -> None:
        """End and delete everything of this organiser."""
        filters = [
            {"Name": "tag:test", "Values": [self.name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        ids = [one["InstanceId"] for group in found for one in group["Instances"]]
        if ids:
            self.ec2.terminate_instances(InstanceIds=ids)
            self.wait("instance_terminated", ids)
        for group in self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{self.name}*"]}])["SecurityGroups"]:
            self.ec2.delete_security_group(GroupId=group["GroupId"])
        self.ec2.delete_key_pair(KeyName=self.name)


def permission(port: int, source: str) -> dict:
    """A rule for one TCP port, from a network or a group."""
    origin = {"UserIdGroupPairs": [{"GroupId": source}]} if source.startswith("sg-") else {"IpRanges": [{"CidrIp": source}]}
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **origin}
