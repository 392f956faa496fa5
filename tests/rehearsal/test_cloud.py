"""The rehearsal cloud against what EC2 promises: an SDK, ssh and real hosts. Uses the cloud that runs, or starts one and ends it."""

import re
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from rehearsal import EXPIRED_KEY, state
from tests.support.machine import BOOT_ID, ORGANISER, STRANGER, Organiser, output, rehearsal

USER_DATA = "#!/bin/sh\necho ran >> /var/tmp/user-data\n"
METADATA = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
TOKEN = "$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"


def metadata(path: str) -> str:
    """Return the command that reads instance metadata as version 2 wants it."""
    return f'curl -sf -H "X-aws-ec2-metadata-token: {TOKEN}" http://169.254.169.254/latest/{path}'


# An APT that knows the mirror alone, for this one command; -qq leaves what went wrong.
ONLY = "-o Dir::Etc::sourcelist=/tmp/mirror.list -o Dir::Etc::sourceparts=/dev/null -o APT::Update::Error-Mode=any"
INSTALL = f"sudo apt-get -qq {ONLY} install --no-install-recommends --yes nvidia-driver-cuda nvidia-kernel-open-dkms"


def repository(twin: str) -> str:
    """Return the command that reads a twin's index."""
    url = f"http://198.19.0.1:8080/apt/{twin}/compute/cuda/repos/debian12/x86_64"
    return (
        f"curl -sf {url}/3bf863cc.pub -o /tmp/mirror.asc && echo 'deb [signed-by=/tmp/mirror.asc] {url} /' > /tmp/mirror.list && "
        f"sudo apt-get -qq {ONLY} update"
    )


@pytest.fixture(scope="module")
def organiser(tmp_path_factory) -> Iterator[Organiser]:
    mine = not state.MACHINE.alive()
    done = rehearsal("up")
    assert done.returncode == 0, done.stderr
    organiser = Organiser(tmp_path_factory.mktemp("organiser"))
    yield organiser
    organiser.leave()
    if mine:
        rehearsal("down")


@pytest.fixture(scope="module")
def seat(organiser) -> str:
    """One host for the tests that leave it as they found it."""
    return organiser.launch(UserData=USER_DATA, MetadataOptions=METADATA)[0]


@pytest.fixture(scope="module")
def bare(organiser) -> str:
    """One host that APT may try to change."""
    return organiser.launch()[0]


@pytest.fixture
def many_hosts() -> Iterator[None]:
    """What `python -m rehearsal doctor` asks for where twenty hosts are wanted; as it was afterwards."""
    before = output("sysctl", "--values", "fs.inotify.max_user_instances").strip()
    output("sysctl", f"fs.inotify.max_user_instances={max(1024, int(before))}")
    yield
    output("sysctl", f"fs.inotify.max_user_instances={before}")


@pytest.mark.parametrize("count", [1, 5, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("many_hosts")
def test_seats_reach_ssh(organiser, count, record_property):
    start = time.monotonic()
    ids = organiser.launch(count)
    assert organiser.reachable(ids) == [True] * count
    record_property("seconds", round(time.monotonic() - start, 1))
    print(f"{count} seats reach SSH after {time.monotonic() - start:.1f} s")
    organiser.ec2.terminate_instances(InstanceIds=ids)
    organiser.wait("instance_terminated", ids)


def test_user_data_runs_once_however_often_a_seat_boots(organiser, seat):
    # SSH answers before cloud-init is through: a reboot in between would end the script before it ran, here as on EC2.
    done = "cloud-init status --wait >/dev/null; cat /var/tmp/user-data"
    assert organiser.says(seat, done) == "ran"
    before = organiser.says(seat, BOOT_ID)
    organiser.ec2.reboot_instances(InstanceIds=[seat])
    organiser.boots_again(seat, before)
    assert organiser.says(seat, done) == "ran"


def test_a_reboot_from_inside_is_a_boot(organiser, seat):
    before, address = organiser.says(seat, BOOT_ID), organiser.see(seat)["PublicIpAddress"]
    organiser.ssh(seat, "sudo systemctl reboot")
    organiser.boots_again(seat, before)
    assert (organiser.see(seat)["State"]["Name"], organiser.see(seat)["PublicIpAddress"]) == ("running", address)
    assert organiser.says(seat, metadata("meta-data/instance-id")) == seat


def test_metadata_wants_a_token_and_shows_tags(organiser, seat):
    assert organiser.says(seat, "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/") == "401"
    assert organiser.says(seat, metadata("meta-data/tags/instance/classroom:seat")) == "s01"
    assert organiser.says(seat, metadata("meta-data/public-ipv4")) == organiser.see(seat)["PublicIpAddress"]
    assert organiser.says(seat, metadata("user-data")) == USER_DATA.strip()


def test_the_public_address_is_not_on_the_interface_and_new_at_every_start(organiser, seat):
    before = organiser.see(seat)
    addresses = organiser.says(seat, "ip -4 -oneline address")
    assert before["PrivateIpAddress"] in addresses and before["PublicIpAddress"] not in addresses
    organiser.ec2.stop_instances(InstanceIds=[seat])
    organiser.wait("instance_stopped", [seat])
    assert "PublicIpAddress" not in organiser.see(seat)
    organiser.ec2.start_instances(InstanceIds=[seat])
    organiser.wait("instance_status_ok", [seat])
    after = organiser.see(seat)
    assert after["PublicIpAddress"] != before["PublicIpAddress"] and after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert organiser.says(seat, "curl -s http://198.19.0.1:8080/checkip") == after["PublicIpAddress"]
    assert output("ip", "route", "show", "exact", f"{before['PublicIpAddress']}/32") == ""


def test_the_organiser_gets_in_and_a_stranger_does_not(organiser, seat):
    assert [organiser.ssh(seat, "true", source).returncode for source in (ORGANISER, STRANGER)] == [0, 255]


def test_a_change_of_a_group_reaches_running_hosts_at_once(organiser, seat):
    organiser.close(22)
    assert organiser.ssh(seat, "true").returncode == 255
    organiser.open(22)
    assert organiser.ssh(seat, "true").returncode == 0


def test_a_change_of_an_instances_groups_reaches_it_at_once_and_holds_after_a_restart(organiser, seat):
    closed = organiser.new_group()
    organiser.ec2.modify_instance_attribute(InstanceId=seat, Groups=[closed])
    assert organiser.ssh(seat, "true").returncode == 255
    organiser.ec2.reboot_instances(InstanceIds=[seat])
    organiser.wait("instance_status_ok", [seat])
    assert organiser.ssh(seat, "true").returncode == 255
    organiser.ec2.modify_instance_attribute(InstanceId=seat, Groups=[organiser.group])
    assert organiser.ssh(seat, "true").returncode == 0


def test_a_group_as_source_lets_its_members_in_and_nobody_else(organiser, seat):
    friends = organiser.new_group()
    organiser.open(9999, friends)
    (friend,) = organiser.launch()
    organiser.says(seat, "sudo systemd-run --quiet --unit=listener python3 -m http.server 9999")
    target = organiser.see(seat)["PrivateIpAddress"]
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' --connect-timeout 2 --retry 3 --retry-connrefused http://{target}:9999/"
    assert organiser.ssh(friend, ask).stdout == "000"
    organiser.ec2.modify_instance_attribute(InstanceId=friend, Groups=[organiser.group, friends])
    assert organiser.says(friend, ask) == "200"
    organiser.close(9999, friends)
    assert organiser.ssh(friend, ask).stdout == "000"
    organiser.says(seat, "sudo systemctl stop listener")


def test_a_seat_builds_the_stand_in_driver_for_its_own_kernel(organiser):
    (seat,) = organiser.launch()
    assert organiser.ssh(seat, repository("good")).returncode == 0
    assert organiser.ssh(seat, INSTALL).returncode == 0
    kernel = organiser.says(seat, "basename /boot/vmlinuz-* | cut -d- -f2-")
    module = organiser.says(seat, f"/usr/sbin/modinfo -k {kernel} -F version nvidia")
    assert organiser.says(seat, "dpkg-query --show --showformat '${Version}' libcuda1") == f"{module}-1"
    smi = organiser.ssh(seat, "nvidia-smi")
    assert smi.returncode == 9 and "couldn't communicate with the NVIDIA driver" in smi.stdout


@pytest.mark.parametrize(
    ("twin", "step", "message"),
    [
        ("bad-key", repository, "NO_PUBKEY"),
        ("tampered-index", repository, "Hashes of expected file"),
        ("tampered-package", lambda twin: f"({repository(twin)}) && {INSTALL}", "Hashes of expected file"),
    ],
)
def test_apt_refuses_the_twins(organiser, bare, twin, step, message):
    done = organiser.ssh(bare, step(twin))
    assert done.returncode == 100 and message in done.stderr
    assert organiser.ssh(bare, "dpkg-query --show '*nvidia*'").returncode == 1


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_power_off_from_inside(organiser, behaviour, state):
    (seat,) = organiser.launch(InstanceInitiatedShutdownBehavior=behaviour)
    organiser.ssh(seat, "sudo systemctl poweroff")
    organiser.wait(f"instance_{state}", [seat])
    assert organiser.see(seat)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


# --- images of instances -----------------------------------------------------------------------------------------------
IDENTITY = "cloud-init status --wait >/dev/null; hostname; cat /etc/ssh/ssh_host_ed25519_key.pub; cat /var/lib/cloud/data/instance-id"
NOTE = "cat /opt/note"
# rename(2) itself: mv would copy where a disk does not rename a folder that came with its image.
RENAME = "sudo python3 -c \"import os; os.rename('/opt/of-{}', '/opt/of-{}')\" && cat /opt/of-*/inside"


def note(organiser, instance_id: str, text: str) -> None:
    """Leave a text on a disk."""
    organiser.says(instance_id, f"echo {text} | sudo tee /opt/note")


def image_of(organiser, instance_id: str, **extra) -> str:
    """Make an image of an instance and wait for it."""
    made = organiser.ec2.create_image(InstanceId=instance_id, Name=f"{organiser.name}-{uuid.uuid4().hex[:8]}", **extra)["ImageId"]
    organiser.ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return made


def forget(organiser, image_id: str) -> str:
    """Deregister an image, delete its snapshot, and return the name of the folder that was its disk."""
    snapshot = organiser.ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    organiser.ec2.deregister_image(ImageId=image_id)
    organiser.ec2.delete_snapshot(SnapshotId=snapshot)
    return snapshot


def on_disk() -> str:
    return output("ls", "/var/lib/rehearsal")


@pytest.fixture(scope="module")
def source(organiser) -> str:
    """An instance whose disk is told apart from the seat image by a note and by a file that is missing. The last test ends it."""
    (instance_id,) = organiser.launch()
    organiser.says(instance_id, "cloud-init status --wait; sudo rm /etc/issue")
    return instance_id


def test_an_image_boots_as_another_machine_with_the_disk_of_its_instance(organiser, source):
    note(organiser, source, "first")
    before, address = organiser.says(source, BOOT_ID), organiser.see(source)["PublicIpAddress"]
    image = image_of(organiser, source)
    organiser.boots_again(source, before)
    assert organiser.see(source)["PublicIpAddress"] == address
    clones = organiser.launch(2, ImageId=image)
    seats = [source, *clones]
    identities = [organiser.says(seat, IDENTITY).splitlines() for seat in seats]
    assert [len(set(kind)) for kind in zip(*identities, strict=True)] == [3, 3, 3]
    assert [identity[2] for identity in identities] == seats
    # As on EC2, whoever makes an image without cleaning it carries the machine id on.
    assert len({organiser.says(seat, "cat /etc/machine-id") for seat in seats}) == 1
    for seat in seats:
        assert organiser.says(seat, f"test ! -e /etc/issue && {NOTE}") == "first"
    for seat in seats:
        note(organiser, seat, f"of-{seat}")
    for restart in ("reboot", "stop"):
        again(organiser, restart, seats)
        assert [organiser.says(seat, NOTE) for seat in seats] == [f"of-{seat}" for seat in seats]
    (latest,) = organiser.launch(ImageId=image)
    assert organiser.says(latest, NOTE) == "first"
    forget(organiser, image)


def again(organiser, how: str, seats: list[str]) -> None:
    """Reboot instances, or stop and start them."""
    if how == "reboot":
        organiser.ec2.reboot_instances(InstanceIds=seats)
    else:
        organiser.ec2.stop_instances(InstanceIds=seats)
        organiser.wait("instance_stopped", seats)
        organiser.ec2.start_instances(InstanceIds=seats)
    organiser.wait("instance_status_ok", seats)


def test_images_of_images_and_of_a_stopped_instance(organiser, source):
    note(organiser, source, "first")
    organiser.says(source, "sudo mkdir /opt/of-first && echo kept | sudo tee /opt/of-first/inside")
    images, seats = [], [source]
    for generation in ("second", "third"):
        organiser.ec2.stop_instances(InstanceIds=seats[-1:])
        organiser.wait("instance_stopped", seats[-1:])
        images.append(image_of(organiser, seats[-1]))
        assert organiser.see(seats[-1])["State"]["Name"] == "stopped"
        seats += organiser.launch(ImageId=images[-1])
        assert organiser.says(seats[-1], f"test ! -e /etc/issue && {NOTE}") == {"second": "first", "third": "second"}[generation]
        note(organiser, seats[-1], generation)
        assert organiser.says(seats[-1], RENAME.format({"second": "first", "third": "second"}[generation], generation)) == "kept"
    organiser.ec2.start_instances(InstanceIds=[source])
    organiser.wait("instance_status_ok", [source])
    assert [organiser.says(seat, NOTE) for seat in (source, seats[-1])] == ["first", "third"]
    assert {forget(organiser, image) for image in images} <= set(on_disk().split())


def test_an_image_without_a_reboot_is_the_disk_as_it_was_then(organiser, source):
    note(organiser, source, "now")
    before = organiser.says(source, BOOT_ID)
    image = image_of(organiser, source, NoReboot=True)
    note(organiser, source, "later")
    assert organiser.says(source, BOOT_ID) == before
    (clone,) = organiser.launch(ImageId=image)
    assert (organiser.says(clone, f"test ! -e /etc/issue && {NOTE}"), organiser.says(source, NOTE)) == ("now", "later")
    forget(organiser, image)


def test_a_clone_outlives_its_source_its_image_and_its_snapshot(organiser, source):
    note(organiser, source, "first")
    image = image_of(organiser, source)
    (clone,) = organiser.launch(ImageId=image)
    organiser.ec2.terminate_instances(InstanceIds=[source])
    organiser.wait("instance_terminated", [source])
    snapshot = forget(organiser, image)
    assert snapshot in on_disk()
    again(organiser, "stop", [clone])
    assert organiser.says(clone, NOTE) == "first"
    organiser.ec2.terminate_instances(InstanceIds=[clone])
    organiser.wait("instance_terminated", [clone])
    assert not {snapshot, clone, source} & set(on_disk().split())


@pytest.mark.parametrize(
    ("other", "ec2", "sts"),
    [
        ({"aws_access_key_id": "AKIAUNKNOWN"}, "AuthFailure", "InvalidClientTokenId"),
        ({"aws_access_key_id": EXPIRED_KEY}, "RequestExpired", "ExpiredToken"),
        ({"aws_secret_access_key": "wrong"}, "AuthFailure", "SignatureDoesNotMatch"),
    ],
)
def test_only_the_key_of_env_is_known(organiser, other, ec2, sts):
    for service, call, expected in (("ec2", "describe_regions", ec2), ("sts", "get_caller_identity", sts)):
        with pytest.raises(ClientError) as caught:
            getattr(organiser.client(service, **other), call)()
        assert caught.value.response["Error"]["Code"] == expected


def test_up_twice_is_one_cloud(organiser):
    again = rehearsal("up")
    assert again.returncode == 0 and "up already" in again.stdout
    assert len(re.findall(r"rehearsal\.server", output("ps", "-eo", "args"))) == 1
    assert Organiser.client(organiser, "sts").get_caller_identity()["Account"] == "123456789012"


def test_nothing_listens_but_on_loopback_and_the_bridge(organiser):
    (pid,) = re.findall(r"^\s*(\d+) .*rehearsal\.server", output("ps", "-eo", "pid,args"), re.M)
    listening = [line.split()[3] for line in output("ss", "-Htlnp").splitlines() if f"pid={pid}," in line]
    assert sorted(listening) == ["127.0.0.1:5555", "172.31.0.1:5555", "198.19.0.1:8080"]


def test_credentials_are_the_users_alone(organiser):
    assert output("stat", "-c", "%a", "/run/rehearsal/credentials.json").strip() == "600"
    arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert organiser.env["AWS_SECRET_ACCESS_KEY"] not in arguments
