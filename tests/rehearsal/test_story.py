"""The main job, end to end, in the order a class lives it. Each test continues where the one before stopped.

Real parts throughout: site.yml, amazon.aws, the dynamic inventory, SSH, systemd, conda and pip, JupyterLab, TLS.
Figures (seconds, tasks a seat) go to test-results/story.json; no test asserts a wall-clock time.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import requests
from ansible_collections.classroom.gpu.plugins.filter.password import jupyter_hash, seat_password

from tests.support.classroom import ROOT, Classroom, Run, tags

FIGURES: dict[str, dict] = {}
WANTED = {"s01", "s02"}
GPU_ROLES = {"nvidia_driver", "cuda", "cudnn"}
NOTHING = {"instances": [], "volumes": [], "keys": [], "groups": []}


def note(name: str, run: Run, **more: object) -> None:
    """Keep a run's figures for docs/rehearsal.md."""
    FIGURES[name] = {"seconds": round(run.seconds, 1), "tasks": run.tasks, "changed": run.changed} | more
    results = ROOT / "test-results"
    results.mkdir(exist_ok=True)
    (results / "story.json").write_text(json.dumps(FIGURES, indent=1) + "\n")
    (results / f"{name}.log").write_text(run.output)


def succeed(name: str, run: Run) -> Run:
    note(name, run)
    assert run.status == 0, run.output[-6000:]
    return run


@pytest.fixture(scope="module", autouse=True)
def neighbour(classroom: Classroom) -> dict:
    """Another class's machine with a seat `s01` of its own, which nothing may touch while this class is worked on."""
    ec2 = classroom.client("ec2")
    parameter = "/aws/service/debian/release/12/latest/amd64"
    image = classroom.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    labels = {"Name": "other-s01", "classroom:name": "other", "classroom:seat": "s01"}
    specification = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in labels.items()]}]
    ec2.run_instances(ImageId=image, InstanceType="t3.large", MinCount=1, MaxCount=1, TagSpecifications=specification)
    before = wait_running(classroom)
    yield before
    after = classroom.instances("other")["s01"]
    for key in ("InstanceId", "LaunchTime", "State", "PrivateIpAddress", "PublicIpAddress", "SecurityGroups", "Tags"):
        assert after.get(key) == before.get(key), f"the other class's seat changed: {key}"
    ec2.terminate_instances(InstanceIds=[before["InstanceId"]])


def wait_running(classroom: Classroom) -> dict:
    identity = classroom.instances("other")["s01"]["InstanceId"]
    classroom.client("ec2").get_waiter("instance_running").wait(InstanceIds=[identity], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return classroom.instances("other")["s01"]


# --- before anything exists -----------------------------------------------------------------------------------------------------------


def test_check_of_a_class_without_seats_says_what_it_would_launch_and_ends(classroom: Classroom) -> None:
    run = succeed("check_empty", classroom.play("site.yml", "--check"))
    assert "s01: to be launched" in run.output and "s02: to be launched" in run.output
    assert run.changed == {"localhost": 0}
    assert left(classroom) == NOTHING


# --- launch ---------------------------------------------------------------------------------------------------------------------------


def test_first_run_proves_every_seat(classroom: Classroom) -> None:
    run = succeed("first", classroom.play("site.yml"))
    assert set(classroom.instances()) == WANTED
    for seat in WANTED:
        assert all(check["ok"] for check in classroom.proof(seat)["checks"])
        assert classroom.instances()[seat]["PublicIpAddress"] in run.output


LAYERS = {
    "driver": r"580\.\d+\.\d+",
    "toolkit": r"12\.9(\.\d+)? and 13\.0(\.\d+)?",
    "cudnn": r"9\.28\.0",
    "framework": r"tensorflow 2\.\d+\.\d+ on CPU \(no GPU\)",
}


def test_the_proof_and_the_table_tell_the_gpu_layers(classroom: Classroom) -> None:
    table = (ROOT / "test-results/first.log").read_text().rpartition("SEATS ***")[2]
    for seat in WANTED:
        found = {check["name"]: check for check in classroom.proof(seat)["checks"]}
        assert {name: True for name in LAYERS} == {name: bool(re.fullmatch(LAYERS[name], found[name]["found"])) for name in LAYERS}
        report = found["framework"]["report"]
        assert report["verdict"] == {"ok": True, "sentence": "no GPU: framework on CPU"}
        assert {report["device"], report["training"]["device"], *(one["device"] for one in report["product"].values())} == {"cpu"}
        told = next(line for line in table.splitlines() if line.startswith(seat))
        assert re.search(", ".join(("driver {driver}", "CUDA {toolkit}", "cuDNN {cudnn}", "{framework}")).format(**LAYERS), told)


def test_machines_are_made_as_promised(classroom: Classroom) -> None:
    volumes = {volume["VolumeId"]: volume for volume in classroom.client("ec2").describe_volumes()["Volumes"]}
    for seat, instance in classroom.instances().items():
        labels = {"Name": f"rehearsal-{seat}", "classroom:name": "rehearsal", "classroom:seat": seat, "classroom:stack": "rehearsal"}
        assert labels.items() <= tags(instance).items()
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert instance["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
        volume = volumes[instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]]
        assert (volume["VolumeType"], volume["Encrypted"]) == ("gp3", True)


def test_check_changes_nothing(classroom: Classroom) -> None:
    assert succeed("check", classroom.play("site.yml", "--check")).changed == {"localhost": 0, "s01": 0, "s02": 0}


# Counts how often anything opens APT's cache, a line each after the first.
WATCH = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
libc.inotify_add_watch(watch, b"/var/cache/apt", 0x20)  # IN_OPEN
print("ready", flush=True)
while events := os.read(watch, 65536):
    while events:
        end = 16 + struct.unpack_from("iIII", events)[3]
        if events[16:end].rstrip(b"\\0") == b"pkgcache.bin":
            print("read", flush=True)
        events = events[end:]
"""
WATCHED = "systemd-run --quiet --collect --unit apt-reads -p StandardOutput=append:/run/apt-reads python3 /run/watch.py"
WAIT = "timeout 10 sh -c 'until test -s /run/apt-reads; do sleep 0.1; done'"


@contextmanager
def apt_reads(classroom: Classroom, seat: str) -> Iterator[list[int]]:
    """Yield a list, which holds at the end how often APT's cache was read meanwhile."""
    counted: list[int] = []
    begun = classroom.ssh(seat, f"sudo tee /run/watch.py >/dev/null && sudo rm -f /run/apt-reads && sudo {WATCHED} && {WAIT}", WATCH)
    assert begun.returncode == 0, begun.stderr
    try:
        yield counted
    finally:
        ended = classroom.ssh(seat, "sudo systemctl stop apt-reads; wc -l < /run/apt-reads")
        counted.append(int(ended.stdout) - 1)


@dataclass(frozen=True)
class Second:
    """The second run, which several tests read: how often it read APT's cache, and every command line that was seen meanwhile."""

    run: Run
    apt_reads: int
    processes: str


EDITED = "~/dl_tutorial/code/hello_tensorflow.ipynb"
EVERY_COMMAND_LINE = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; sleep 0.2; done"


@pytest.fixture(scope="module")
def second(classroom: Classroom) -> Second:
    """The class as it was left, but for a student's edit; with all that Ansible says, and every seat proven anew."""
    edit = f"echo ' ' >> {EDITED}; echo mine > ~/dl_tutorial/mine.txt; sha256sum {EDITED} > /tmp/before"
    assert classroom.ssh("s01", edit).returncode == 0
    assert classroom.ssh("s01", "sudo apt-cache policy bash").returncode == 0  # makes the cache, which an image may not bring
    with apt_reads(classroom, "s01") as of_one:
        assert classroom.ssh("s01", "apt-cache policy bash").returncode == 0
    assert of_one == [1], "the count itself works"
    with tempfile.TemporaryFile("w+") as seen:  # a pipe that nobody reads would stop the watch
        with apt_reads(classroom, "s01") as of_all, subprocess.Popen(["bash", "-c", EVERY_COMMAND_LINE], stdout=seen) as watch:
            run = classroom.play("site.yml", "-vvv", "-e", "reprove=true")
            watch.terminate()
        seen.seek(0)
        return Second(run, of_all[0], seen.read())


def test_the_second_run_changes_nothing_and_its_gpu_roles_take_nine_tasks_and_one_read_of_apts_cache(second: Second) -> None:
    run = second.run
    executed = run.executed("s01", GPU_ROLES)
    own = [task for task in executed if "Validating arguments against" not in task]  # Ansible's own, one a role
    note("second", run, gpu_tasks=own, gpu_validations=len(executed) - len(own), apt_reads=second.apt_reads)
    assert (run.status, run.changed) == (0, {"localhost": 0, "s01": 0, "s02": 0}), run.output[-6000:]
    assert 3 <= len(own) <= 9, own
    assert second.apt_reads <= 1


def test_a_students_edit_survives(classroom: Classroom, second: Second) -> None:
    assert second.run.changed["s01"] == 0
    kept = classroom.ssh("s01", "sha256sum -c /tmp/before && cat ~/dl_tutorial/mine.txt")
    assert "mine" in kept.stdout
    assert classroom.ssh("s01", f"cd ~/dl_tutorial && git checkout -q -- {EDITED} && rm mine.txt").returncode == 0


# --- doors ----------------------------------------------------------------------------------------------------------------------------


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-sS", "-m", "5", *arguments], capture_output=True, text=True)


def login(classroom: Classroom, seat: str, password: str) -> requests.Response:
    url = f"https://{classroom.instances()[seat]['PublicIpAddress']}:8888/login"
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(classroom.folder / "ca.crt")
        session.get(url, timeout=10)
        form = {"password": password, "_xsrf": session.cookies["_xsrf"]}
        return session.post(url, data=form, allow_redirects=False, timeout=10)


def test_only_the_seats_password_over_https_opens_the_door(classroom: Classroom) -> None:
    secret = (classroom.folder / "secret").read_text().strip()
    assert login(classroom, "s01", seat_password(secret, "s01")).status_code == 302
    assert login(classroom, "s01", seat_password(secret, "s02")).status_code == 401
    address = classroom.instances()["s01"]["PublicIpAddress"]
    assert curl(f"http://{address}:8888/").returncode != 0
    assert curl(f"https://{address}:8888/").returncode == 60, "a request without the class's CA must fail on trust"
    assert curl("--cacert", str(classroom.folder / "ca.crt"), f"https://{address}:8888/login").returncode == 0
    assert curl(f"http://{address}:9999/").returncode == 28, "port 9999 must not even answer"


def test_the_firewall_lets_the_organiser_in_and_a_stranger_not(classroom: Classroom) -> None:
    address = classroom.instances()["s01"]["PublicIpAddress"]
    ca = str(classroom.folder / "ca.crt")
    assert curl("--interface", "198.19.0.1", "--cacert", ca, f"https://{address}:8888/login").returncode == 0
    assert curl("--interface", "198.19.0.2", "--cacert", ca, f"https://{address}:8888/login").returncode == 28


def test_no_secret_is_readable_anywhere(classroom: Classroom, second: Second) -> None:
    """Not in the output at -vvv, in a process list, in git, or in what other users of a seat can read."""
    secret = (classroom.folder / "secret").read_text().strip()
    passwords = [seat_password(secret, seat) for seat in sorted(WANTED)]
    assert second.run.status == 0
    assert "ansible-playbook site.yml -vvv" in second.processes, "the watch itself works"
    key = (classroom.folder / "id_ed25519").read_text().splitlines()[-3]  # the first lines are the same in every key
    private = [*passwords, secret, key, *(jupyter_hash(secret, seat) for seat in sorted(WANTED))]
    for word in private:
        assert word not in second.run.output
        assert word not in second.processes
        assert subprocess.run(["git", "grep", "-qF", "-e", word, "--", "."], cwd=ROOT).returncode == 1
    for seat in WANTED:
        assert holders(classroom, seat, "root", [*passwords, secret, key]) == [], "none of them is on a seat"
        assert holders(classroom, seat, "root", [jupyter_hash(secret, seat)]) == ["/etc/jupyter/seat.py"]
        assert holders(classroom, seat, "nobody", private) == []
        assert "/etc/passwd" in holders(classroom, seat, "nobody", ["root:x:0:0"]), "the search itself works"


def holders(classroom: Classroom, seat: str, user: str, words: list[str]) -> list[str]:
    """Files of a seat that hold one of the words, as far as a user can read them."""
    folders = "/etc /home /opt /run /var /tmp /root"
    return classroom.ssh(seat, f"sudo -u {user} grep -rlsF -f - {folders}", "\n".join(words)).stdout.split()


# --- repair ---------------------------------------------------------------------------------------------------------------------------

CLOSED = ": >/home/ubuntu/.ssh/authorized_keys"
DAMAGE = "cd /opt/conda/envs/dl_aws/lib/python3.11 && rm -v abc.py site-packages/numpy/__init__.py site-packages/IPython/__init__.py"
BREAKS = {
    "jupyter_stopped": "sudo systemctl disable --now jupyter",
    "certificate_deleted": "sudo rm -v /etc/jupyter/cert.pem",
    "environment_damaged": DAMAGE,
    "course_deleted": "rm -r ~/dl_tutorial",
    "driver_let_go": "sudo apt-mark unhold libcuda1 nvidia-kernel-open-dkms && sudo rm -v /etc/modprobe.d/classroom-nouveau.conf",
    "toolkit_removed": "sudo dpkg --remove --force-depends cuda-nvcc-12-9",
    "log_in_closed": f"sudo sh -ec '{CLOSED}; rm /etc/sudoers.d/90-cloud-init-users; usermod --shell /bin/nope ubuntu'",
    "ssh_lost": f"sudo sh -ec '{CLOSED}; rm -r /var/lib/classroom; usermod --shell /bin/nope classroom; systemctl stop ssh'",
}
# What a run says about the damage that it mended, as warnings above the table.
MENDED = {
    "driver_let_go": ["The hold of libcuda1 nvidia-kernel-open-dkms was gone: put back", "Nouveau was not kept out"],
    "toolkit_removed": ["cuda-nvcc-12-9 was gone or damaged: installed again"],
    "ssh_lost": ["SSH let nobody in; its Jupyter did, where this was put right: account classroom: home and shell"],
}


# What molecule breaks and mends, too, each in its role's scenario.
LATER = ("certificate_deleted", "course_deleted", "toolkit_removed", "log_in_closed")
# What no student works with: what was proven still holds.
APART = ("log_in_closed", "ssh_lost")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LATER else ()) for name in BREAKS])
def test_a_broken_seat_is_repaired_and_no_other_touched(classroom: Classroom, name: str) -> None:
    broken = classroom.ssh("s01", BREAKS[name])
    assert broken.returncode == 0, broken.stderr
    run = repaired(classroom, name, anew=name not in APART)
    said = " ".join(" ".join(line.split()) for line in run.output.splitlines())  # a warning is broken at the screen's edge
    assert [sentence for sentence in MENDED.get(name, []) if sentence not in said] == [], run.output
    assert classroom.ssh("s01", "sudo sha256sum --check --quiet /run/jupyter/started && systemctl is-active jupyter").stdout == "active\n"


def repaired(classroom: Classroom, name: str, anew: bool = True) -> Run:
    """site.yml mends s01, proves it (anew: in this run), and leaves s02 alone."""
    before = {seat: classroom.proof(seat)["proven_at"] for seat in WANTED}
    run = succeed(name, classroom.play("site.yml"))
    assert run.changed["s01"] > 0
    assert run.changed["s02"] == 0
    assert all(check["ok"] for check in classroom.proof("s01")["checks"])
    assert (classroom.proof("s01")["proven_at"] > before["s01"]) == anew
    assert classroom.proof("s02")["proven_at"] == before["s02"]
    return run


CARD = "for pair in vendor:0x10de device:0x1eb8 class:0x030200; do echo ${pair#*:} >$0/0000:00:1e.0/${pair%:*}; done"
PLUG_IN = f"sudo mkdir -p /run/gpu/0000:00:1e.0 && sudo sh -c '{CARD}' /run/gpu && sudo mount --bind /run/gpu /sys/bus/pci/devices"


def test_a_gpu_whose_driver_is_idle_is_not_proven(classroom: Classroom) -> None:
    """A Tesla T4 in the seat's own sysfs: what holds without a GPU no longer does."""
    assert classroom.ssh("s01", PLUG_IN).returncode == 0
    run = classroom.play("playbooks/verify.yml", "-e", "seats=s01")
    assert classroom.ssh("s01", "sudo umount /sys/bus/pci/devices").returncode == 0
    note("idle_gpu", run)
    assert run.status != 0
    assert "NOT PROVEN: the Tesla T4 is idle" in run.output
    assert not classroom.proof("s01")["proven"]
    succeed("gpu_gone", classroom.play("playbooks/verify.yml", "-e", "seats=s01"))
    assert classroom.proof("s01")["proven"]


def test_a_server_that_stands_still_is_found_and_goes_on_with_what_runs_in_it(classroom: Classroom) -> None:
    """systemd calls it active, and all that was proven is as it was: only asking tells. Nothing restarts, and no notebook runs again."""
    before, started = classroom.proof("s01"), invocation(classroom)
    assert classroom.ssh("s01", "sudo kill -STOP $(systemctl show --value --property=MainPID jupyter)").returncode == 0
    found = classroom.play("playbooks/verify.yml", "-e", "seats=s01")
    note("server_stopped", found)
    assert found.status != 0 and found.changed["s01"] == 0
    assert re.search(r"NOT PROVEN: jupyter.service's process \d+ is stopped: run site.yml", found.output)
    run = succeed("server_goes_on", classroom.play("site.yml", "-e", "seats=s01"))
    assert run.changed["s01"] == 1 and "s01 earlier proof holds" in run.output
    assert (classroom.proof("s01"), invocation(classroom)) == (before, started)


def test_a_seat_stopped_behind_our_back_is_started_again(classroom: Classroom) -> None:
    ec2, identity = classroom.client("ec2"), classroom.instances()["s01"]["InstanceId"]
    address = classroom.instances()["s01"]["PublicIpAddress"]
    ec2.stop_instances(InstanceIds=[identity])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[identity], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    repaired(classroom, "instance_stopped")
    assert classroom.instances()["s01"]["InstanceId"] == identity
    assert classroom.instances()["s01"]["PublicIpAddress"] != address


@pytest.mark.parametrize("change", [{"classroom:seat": "s01"}, {"classroom:seat": None}, {"classroom:name": None}])
def test_a_seat_whose_tag_somebody_changed_keeps_its_machine_and_its_files(classroom: Classroom, change: dict[str, str | None]) -> None:
    ec2, before, work = classroom.client("ec2"), classroom.instances(), "/home/ubuntu/dl_tutorial/a-night-of-work"
    identity, ((key, value),) = before["s02"]["InstanceId"], change.items()
    assert classroom.ssh("s02", f"cat > {work}", "results").returncode == 0
    if value:
        ec2.create_tags(Resources=[identity], Tags=[{"Key": key, "Value": value}])
    else:
        ec2.delete_tags(Resources=[identity], Tags=[{"Key": key}])

    run = classroom.play("site.yml", "-e", "seats=s02")
    back = re.search(rf"`aws ec2 create-tags --resources {identity} --tags Key=(\S+),Value=(\S+) --region \S+`", run.output)
    assert run.status != 0 and f"The machine of s02, {identity}, has " in run.output and back, run.output[-3000:]
    assert (back[1], back[2]) == (key, "s02" if key.endswith("seat") else classroom.name)
    ec2.create_tags(Resources=[identity], Tags=[{"Key": back[1], "Value": back[2]}])

    run = succeed(f"tag_{key.partition(':')[2]}_{value}", classroom.play("site.yml", "-e", "seats=s02"))
    assert run.changed["s02"] == 0
    assert {seat: one["InstanceId"] for seat, one in classroom.instances().items()} == {
        seat: one["InstanceId"] for seat, one in before.items()
    }
    assert classroom.ssh("s02", f"cat {work} && rm {work}").stdout == "results"


def test_a_run_killed_before_its_restart_is_finished_by_the_next(classroom: Classroom) -> None:
    """The running server has a setting that the file on disk no longer has: the killed run mended the file only."""
    config = "/etc/jupyter/seat.py"
    changed = f"echo 'c.ServerApp.max_body_size = 4711' | sudo tee -a {config} && sudo systemctl restart jupyter"
    assert classroom.ssh("s01", changed).returncode == 0
    started = invocation(classroom)
    kill_after_changed(classroom, "s01")
    assert classroom.ssh("s01", f"sudo grep 4711 {config}").returncode == 1, "the killed run was to mend the file"
    assert invocation(classroom) == started, "the killed run was not to reach the restart"
    repaired(classroom, "killed_before_restart")
    assert invocation(classroom) != started


def invocation(classroom: Classroom) -> str:
    """systemd's id of the running service: a new one at each start."""
    return classroom.ssh("s01", "systemctl show jupyter --property InvocationID --value").stdout.strip()


def begin(classroom: Classroom) -> subprocess.Popen[str]:
    """Start site.yml in a process group of its own."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen(["ansible-playbook", "site.yml"], cwd=ROOT, env=classroom.environment, start_new_session=True, **output)


def kill_after_changed(classroom: Classroom, seat: str) -> None:
    """kill -9 the run and all its workers as soon as it reports a change on the seat."""
    with begin(classroom) as run:
        for line in run.stdout:
            if line.startswith(f"changed: [{seat}"):
                os.killpg(run.pid, signal.SIGKILL)
                return
    pytest.fail("the run ended without changing anything on the seat")


# --- a student at work ----------------------------------------------------------------------------------------------------------------


def test_a_student_works_in_a_real_browser(request: pytest.FixtureRequest) -> None:
    """tests/browser, with the markers of this run: its tests ask for a class that is up, and this is where one is."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "tests/browser", "-m", request.config.option.markexpr]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (ROOT / "test-results" / "browser.log").write_text(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]


# --- the end of class -----------------------------------------------------------------------------------------------------------------


def extend(classroom: Classroom, name: str, ends: str) -> list[str]:
    """Move the end; return what each seat then tells its student, once it has looked."""
    succeed(name, classroom.play("playbooks/extend.yml", "-e", f"ends='{ends}'"))
    look = "sudo systemctl start autostop && cat /run/autostop/told/notice.txt"
    return [classroom.ssh(seat, look).stdout.strip() for seat in sorted(WANTED)]


def test_the_end_moves_by_the_api_alone_and_a_run_leaves_it_where_it_was_moved(classroom: Classroom) -> None:
    near = datetime.now(UTC) + timedelta(minutes=25)
    notices = extend(classroom, "extend_near", f"{near:%Y-%m-%d %H:%M} UTC")
    assert all(notice.startswith("This machine stops at ") for notice in notices), notices
    assert {tags(one)["classroom:ends"] for one in classroom.instances().values()} == {f"{near:%Y-%m-%dT%H:%M}:00Z"}
    assert succeed("after_extend", classroom.play("site.yml")).changed == {"localhost": 0, "s01": 0, "s02": 0}
    assert {tags(one)["classroom:ends"] for one in classroom.instances().values()} == {f"{near:%Y-%m-%dT%H:%M}:00Z"}
    assert extend(classroom, "extend_far", classroom.settings["classroom_ends"]) == ["", ""]


# --- stop, start ----------------------------------------------------------------------------------------------------------------------


def test_stop_and_start_bring_the_class_back_proven(classroom: Classroom) -> None:
    before = classroom.instances()
    succeed("stop", classroom.play("playbooks/stop.yml", "-e", "confirm=true"))
    assert {one["State"]["Name"] for one in classroom.instances().values()} == {"stopped"}
    succeed("start", classroom.play("playbooks/start.yml", "-e", "confirm=true"))
    after = classroom.instances()
    for seat in WANTED:
        assert after[seat]["InstanceId"] == before[seat]["InstanceId"]
        assert after[seat]["PublicIpAddress"] != before[seat]["PublicIpAddress"]
        assert all(check["ok"] for check in classroom.proof(seat)["checks"])
        url = f"https://{after[seat]['PublicIpAddress']}:8888/login"
        assert curl("--cacert", str(classroom.folder / "ca.crt"), url).returncode == 0, "the certificate follows the address"
    assert succeed("after_start", classroom.play("site.yml")).changed == {"localhost": 0, "s01": 0, "s02": 0}


# --- refusals of a cloud that knows its keys; all others are in tests/playbooks/test_refusals.py ----------------------------------------

EXPIRED = {"AWS_ACCESS_KEY_ID": "AKIAREHEARSALEXPIRED", "AWS_SECRET_ACCESS_KEY": "whatever"}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "wrong"}, r"(?i)credentials", id="wrong secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}, r"(?i)credentials", id="unknown key"),
        pytest.param(EXPIRED, r"(?i)expired", id="expired"),
    ],
)
def test_keys_that_do_not_hold_get_one_clear_message_and_nothing_is_attempted(
    classroom: Classroom, environment: dict[str, str], says: str
) -> None:
    before = classroom.instances()
    run = classroom.play("site.yml", **environment)
    assert run.status != 0
    assert re.search(says, run.output, re.S), run.output
    assert "Traceback" not in run.output
    assert len(run.output.splitlines()) <= 30, run.output
    assert not any(run.changed.values())
    assert classroom.instances() == before


# --- the end --------------------------------------------------------------------------------------------------------------------------


def test_teardown_shows_asks_and_leaves_nothing(classroom: Classroom) -> None:
    refused = classroom.play("playbooks/teardown.yml")
    note("teardown_unanswered", refused)
    assert refused.status != 0, "no terminal, no answer: nothing may be ended"
    assert "s01" in refused.output and "s02" in refused.output and "confirm=true" in refused.output
    assert set(classroom.instances()) == WANTED
    succeed("teardown", classroom.play("playbooks/teardown.yml", "-e", "confirm=true"))
    assert left(classroom) == NOTHING


@pytest.mark.slow
def test_runs_killed_at_any_moment_are_completed_by_the_next(classroom: Classroom) -> None:
    """From nothing: kill -9 while launching, installing, building the environment; never a machine twice, and all proven in the end."""
    for seconds in (4, 8, 12, 20, 35, 60, 90):
        kill_after(classroom, seconds)
        assert set(classroom.instances()) <= WANTED
    succeed("completed", classroom.play("site.yml"))
    ours = [{"Name": "tag:classroom:name", "Values": ["rehearsal"]}, {"Name": "instance-state-name", "Values": ["running"]}]
    machines = [one for group in classroom.client("ec2").describe_instances(Filters=ours)["Reservations"] for one in group["Instances"]]
    assert sorted(tags(one)["classroom:seat"] for one in machines) == sorted(WANTED)
    assert succeed("completed_again", classroom.play("site.yml")).changed == {"localhost": 0, "s01": 0, "s02": 0}
    succeed("teardown_again", classroom.play("playbooks/teardown.yml", "-e", "confirm=true"))
    assert left(classroom) == NOTHING


def kill_after(classroom: Classroom, seconds: float) -> None:
    """kill -9 a run of site.yml and all its workers after so many seconds."""
    with begin(classroom) as run:
        try:
            run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)


def left(classroom: Classroom) -> dict[str, list]:
    """Everything of this class that the API still holds."""
    ec2, ours = classroom.client("ec2"), [{"Name": "tag:classroom:name", "Values": ["rehearsal"]}]
    named = [{"Name": "group-name", "Values": ["classroom-rehearsal"]}]
    return {
        "instances": list(classroom.instances()),
        "volumes": ec2.describe_volumes(Filters=ours)["Volumes"],
        "keys": [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"] if key["KeyName"] == "classroom-rehearsal"],
        "groups": ec2.describe_security_groups(Filters=named)["SecurityGroups"],
    }
