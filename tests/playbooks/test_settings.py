"""One class's settings and seats, read by real Ansible."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml
from ansible_collections.classroom.gpu.plugins.module_utils.seat import way_in

from tests.support import warm

ROOT = Path(__file__).parents[2]


def inventory(environment: dict[str, str]) -> tuple[dict, str]:
    """Return what ansible-inventory lists, and what it says besides."""
    done = warm.run("ansible-inventory", "--list", environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


SETTINGS = "[classroom_name, classroom_account, classroom_timezone, classroom_disk_gib, classroom_region]"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAITest classroom-rehearsal"
# What the tests ask of each host, in one run a host.
ASKED = {
    "localhost": {"settings": SETTINGS, "user_data": "ec2_seats_user_data", "ends": "autostop_ends"},
    "s01": {
        "settings": SETTINGS,
        "ends": "[autostop_ends, autostop_zone]",
        "reached": "[ansible_user, ansible_ssh_private_key_file, ansible_ssh_common_args, ec2_instance_id, classroom_dir]",
        "ways": "[ansible_connection, ansible_second_user, base_account, base_user, base_jupyter, base_launched]",
    },
}


@pytest.fixture(scope="module")
def evaluated(environment: dict[str, str]) -> Callable[[str, str], object]:
    """Tells the value of an expression on a host; the host itself is not touched."""

    @cache
    def values(host: str) -> dict[str, object]:
        text = ", ".join(f"'{name}': {expression}" for name, expression in ASKED[host].items())
        command = ("ansible", host, "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": f"{{{{ {{{text}}} }}}}"}))
        command += ("-e", json.dumps({"ec2_access_public_key": KEY}))  # of a class whose secrets were never made
        done = warm.run(*command, environment=environment | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.partition("=>")[2])["msg"]

    return lambda host, name: values(host)[name]


def test_the_inventory_has_the_seats_of_one_class_and_says_nothing_else(environment: dict[str, str]) -> None:
    groups, noise = inventory(environment)
    assert noise == ""
    assert groups["seats"]["hosts"] == groups["stack_rehearsal"]["hosts"] == ["s01"]
    assert sorted(groups["classroom_rehearsal"]["hosts"]) == ["localhost", "s01"]
    assert groups["_meta"]["hostvars"]["s01"]["ec2_tags"]["classroom:name"] == {"__ansible_unsafe": "rehearsal"}


def test_a_class_without_seats_has_a_controller(environment: dict[str, str]) -> None:
    groups, noise = inventory(environment | {"CLASSROOM": "empty"})
    assert noise == ""
    assert groups["classroom_empty"]["hosts"] == ["localhost"]


@pytest.mark.parametrize("host", ["localhost", "s01"])
def test_settings_of_all_and_of_the_class_reach_controller_and_seats(evaluated: Callable[[str, str], object], host: str) -> None:
    assert evaluated(host, "settings") == ["rehearsal", "123456789012", "UTC", 20, "us-west-2"]


def test_a_launch_arms_the_end_with_the_files_of_the_role(evaluated: Callable[[str, str], object]) -> None:
    text = evaluated("localhost", "user_data")
    assert text.startswith("#cloud-config\n") and len(text.encode()) < 16384, "EC2 takes 16 KiB"
    user_data = yaml.safe_load(text)
    assert user_data["runcmd"][-1] == ["systemctl", "enable", "--now", "autostop.timer"]
    files = {file["path"]: (file["content"], file.get("permissions", "0644")) for file in user_data["write_files"]}
    armed = {path: file for path, file in files.items() if "autostop" in path}
    role = ROOT / "roles/autostop"
    written = yaml.safe_load((role / "tasks/main.yml").read_text())[0]["classroom.gpu.managed_files"]["files"]
    modes = {file["path"]: file.get("mode", "0644") for file in written if "state" not in file and "settings" not in file["path"]}
    assert {path: mode for path, (_, mode) in armed.items()} == modes
    assert armed.pop("/etc/autostop/ends")[0] == "2099-12-31T17:00:00Z\n"
    for path, (content, _) in armed.items():
        name = path.rpartition("/")[2].replace("autostop", "autostop.py") if path.endswith("autostop") else path.rpartition("/")[2]
        assert content == (role / "files" / name).read_text(), path


def test_a_launch_makes_the_way_in_that_the_role_keeps(evaluated: Callable[[str, str], object]) -> None:
    user_data = yaml.safe_load(evaluated("localhost", "user_data"))
    assert user_data["users"][0] == "default", "the image's account, which a list without it would leave out"
    account, home = user_data["users"][1], str(way_in.HOME)
    assert account == {"name": "classroom", "system": True, "no_create_home": True, "homedir": home, "shell": "/bin/sh"}
    files = {file["path"]: (file["content"], file.get("permissions", "0644")) for file in user_data["write_files"]}
    assert files[f"{home}/.ssh/authorized_keys"] == (f"{KEY}\n", "0644")
    assert files[str(way_in.RULE)] == (way_in.Ways("classroom", "ubuntu", KEY).sudo_rule, "0440")
    assert user_data["runcmd"][0] == ["install", "-d", "-o", "classroom", "-m", "0700", f"{home}/.ansible"]


def test_a_seats_tag_tells_its_end_and_the_settings_that_of_a_launch(evaluated: Callable[[str, str], object]) -> None:
    assert evaluated("localhost", "ends") == "2099-12-31T17:00:00Z"
    assert evaluated("s01", "ends") == ["2099-12-31T17:00:00Z", "Europe/Berlin"]


def test_a_seat_is_reached_by_its_key_under_its_instance_id(evaluated: Callable[[str, str], object]) -> None:
    user, key, arguments, instance, folder = evaluated("s01", "reached")
    assert folder == str(ROOT / "classes/123456789012-us-west-2/rehearsal")
    assert (user, key) == ("classroom", f"{folder}/id_ed25519")
    assert f"HostKeyAlias={instance}" in arguments and f'UserKnownHostsFile="{folder}/known_hosts"' in arguments


def test_a_seat_has_two_ways_in_and_a_third_back(evaluated: Callable[[str, str], object]) -> None:
    connection, second, account, user, jupyter, launched = evaluated("s01", "ways")
    assert (connection, second, account, user) == ("classroom.gpu.seat", "ubuntu", "classroom", "ubuntu")
    assert re.fullmatch(r"https://[\d.]+:8888/", jupyter["url"]) and jupyter["class_dir"].endswith("/rehearsal")
    assert datetime.now(tz=UTC) - datetime.fromisoformat(str(launched)) < timedelta(days=1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"AWS_REGION": ""}, "no region is set", marks=pytest.mark.slow),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect", marks=pytest.mark.slow),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "locate credentials"),
    ],
)
def test_without_a_cloud_there_are_no_seats_and_one_line(environment: dict[str, str], change: dict[str, str], sentence: str) -> None:
    groups, noise = inventory(environment | change)
    assert "seats" not in groups
    assert noise.startswith("No seats in the inventory: ") and sentence in noise and noise.count("\n") == 1
