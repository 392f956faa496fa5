"""What is done about kernels and the persistence daemon, and when a reboot has to wait, on trees that are made here."""

import os

import pytest
from ansible_collections.classroom.gpu.plugins.action import nvidia_kernel_module as action
from ansible_collections.classroom.gpu.plugins.modules import nvidia_kernel_module

K55, K56 = "6.1.0-55-cloud-amd64", "6.1.0-56-cloud-amd64"


@pytest.mark.parametrize(
    ("reason", "allowed", "busy", "interrupt", "now", "first"),
    [
        ("", True, 0, False, False, ""),
        ("", False, 3, False, False, ""),
        ("nouveau is loaded", True, 0, False, True, ""),
        ("nouveau is loaded", True, 2, True, True, ""),
        ("nouveau is loaded", True, 2, False, False, "2 kernels or terminals of a student are alive: run this again when they have ended"),
        ("nouveau is loaded", False, 0, False, False, "run this again with -e nvidia_driver_reboot=true"),
        ("nouveau is loaded", False, 2, True, False, "run this again with -e nvidia_driver_reboot=true"),
    ],
)
def test_a_reboot_is_done_only_where_due_and_allowed_and_nobody_works(reason, allowed, busy, interrupt, now, first):
    found = nvidia_kernel_module.decide(reason, allowed, busy, interrupt)
    assert found[0] is now and found[1].startswith(first) and bool(found[1]) == bool(first)


@pytest.mark.parametrize(
    ("folders", "version", "found"),
    [
        (["nvidia-580.126.09"], "580.126.09", ("nvidia", "580.126.09")),
        (["nvidia-570.1", "nvidia-580.126.09"], "580.126.09", ("nvidia", "580.126.09")),
        (["nvidia-current-535.309.01"], "535.309.01", ("nvidia-current", "535.309.01")),
        (["nvidia-580.126.09"], "580.173.02", ("", "")),
        ([], "580.126.09", ("", "")),
    ],
)
def test_the_source_of_the_module_is_that_of_the_libraries_version(tmp_path, folders, version, found):
    for folder in folders:
        (tmp_path / "usr/src" / folder).mkdir(parents=True)
        (tmp_path / "usr/src" / folder / "dkms.conf").touch()
    assert nvidia_kernel_module.source_of(version, tmp_path) == found


def test_initial_ram_disks_older_than_the_file_are_made_anew(tmp_path):
    ages = {K55: 100, K56: 300}
    for name, age in ages.items():
        (tmp_path / "lib/modules" / name).mkdir(parents=True)
        (tmp_path / "boot").mkdir(exist_ok=True)
        for file in (f"boot/vmlinuz-{name}", f"boot/initrd.img-{name}"):
            (tmp_path / file).touch()
        os.utime(tmp_path / f"boot/initrd.img-{name}", (age, age))
    written = tmp_path / "etc/modprobe.d/classroom-nouveau.conf"
    written.parent.mkdir(parents=True)
    written.touch()
    os.utime(written, (200, 200))
    assert nvidia_kernel_module.stale_images(tmp_path) == [K55]


@pytest.mark.parametrize(
    ("enabled", "active", "gpu_there", "works", "steps"),
    [
        ("enabled", "failed", False, False, ["disable --now", "reset-failed"]),
        ("enabled", "inactive", False, False, ["disable --now"]),
        ("disabled", "failed", False, False, ["reset-failed"]),
        ("disabled", "inactive", False, False, []),
        ("enabled", "active", True, True, []),
        ("disabled", "inactive", True, True, ["enable", "restart"]),
        ("enabled", "failed", True, True, ["restart"]),
        ("enabled", "failed", True, False, []),
        ("disabled", "inactive", True, False, ["enable"]),
    ],
)
def test_the_persistence_daemon_is_on_only_where_a_gpu_is(enabled, active, gpu_there, works, steps):
    state = {"UnitFileState": enabled, "ActiveState": active}
    assert nvidia_kernel_module.daemon_steps(state, gpu_there, works) == steps


def facts(kernels, **changed):
    """What gpu_probe tells: `kernels` are (version, running, has_headers, module's version)."""
    rows = [
        {"version": name, "running": running, "next_boot": name == kernels[-1][0], "has_headers": headers, "module": module(version)}
        for name, running, headers, version in kernels
    ]
    running = next((name for name, is_running, *_ in kernels if is_running), "6.18-host")
    return {
        "gpus": [],
        "kernels": rows,
        "running": running,
        "next_boot": kernels[-1][0],
        "kernel_is_ours": running != "6.18-host",
        "driver": {"wanted": "", "installed": "580.1", "loaded": ""},
        "nouveau": {"loaded": False, "blacklisted": True},
        "secure_boot": "unsupported",
    } | changed


def module(version):
    return {"name": "nvidia" if version else "", "version": version, "open": True}


class FakeModule:
    """The edge: remembers commands; `answers` maps the beginning of a command to what it returns."""

    def __init__(self, answers=None, **params):
        defaults = {name: option["default"] for name, option in nvidia_kernel_module.SPEC.items()}
        self.params, self.check_mode, self.answers, self.commands = defaults | params, False, answers or {}, []

    def run_command(self, command, **_):
        self.commands.append(" ".join(command))
        return next((answer for start, answer in self.answers.items() if " ".join(command).startswith(start)), (0, "", ""))

    def get_bin_path(self, name, **_):
        return name


@pytest.fixture
def machine(monkeypatch):
    """Make a machine of facts, parameters and answers; its nouveau file and source of the driver are in order."""
    monkeypatch.setattr(nvidia_kernel_module.Kernels, "keep_nouveau_out", lambda self: None)
    monkeypatch.setattr(nvidia_kernel_module, "source_of", lambda version: ("nvidia", version))

    def make(found, answers=None, **params):
        monkeypatch.setattr(nvidia_kernel_module.gpu_probe, "facts", lambda module: found)
        return nvidia_kernel_module.Kernels(FakeModule(answers, **params))

    return make


def worked(kernels):
    """Run, and return the commands that change something."""
    kernels.settle()
    return [command for command in kernels.module.commands if not command.startswith("systemctl show")]


def test_where_all_is_well_nothing_is_done(machine):
    kernels = machine(facts([(K55, False, True, "580.1")]))
    assert worked(kernels) == [] and kernels.done == []


def test_a_missing_module_is_built_and_mended_only_where_the_driver_was_there(machine):
    found = facts([(K55, False, True, ""), (K56, False, True, "580.1")])
    first, later = machine(found), machine(found, known=True)
    assert worked(first) == worked(later) == [f"dkms install nvidia/580.1 -k {K55} --force"]
    assert first.mended == [] and later.mended == later.done == [f"kernel {K55} had no module: module 580.1 put there"]


def test_headers_come_before_the_module_and_are_always_a_repair(machine):
    kernels = machine(facts([(K55, False, False, "")]))
    commands = worked(kernels)
    assert commands[0].endswith(f"install linux-headers-{K55}") and commands[1].startswith("dkms install")
    assert kernels.mended == [f"kernel {K55} had no headers and no module: module 580.1 put there"]


def test_a_module_of_another_version_is_replaced(machine):
    kernels = machine(facts([(K55, False, True, "570.1")]), known=True)
    assert worked(kernels)
    assert kernels.mended == [f"kernel {K55} had module 570.1: module 580.1 put there"]


def test_prebuilt_modules_come_from_packages(machine):
    kernels = machine(facts([("6.14.0-1018-aws", False, False, "")]), prebuilt="linux-modules-nvidia-580-server-open-")
    assert [command.split()[-1] for command in worked(kernels)] == ["linux-modules-nvidia-580-server-open-6.14.0-1018-aws"]
    assert kernels.done == ["kernel 6.14.0-1018-aws had no module: module 580.1 put there"]


GONE = {"apt-get -o": (100, "", "E: Unable to locate package linux-headers")}


def test_an_old_kernel_whose_headers_are_gone_is_only_reported(machine):
    kernels = machine(facts([(K55, False, False, ""), (K56, False, True, "580.1")]), GONE)
    commands = worked(kernels)
    assert "apt-get --quiet update" in commands and len(commands) == 3
    assert kernels.left == [K55] and kernels.done == []


@pytest.mark.parametrize("running", [True, False])
def test_the_running_and_the_next_kernel_need_their_module(machine, running):
    kernels = machine(facts([(K55, running, False, "")]), GONE)
    said = f"Kernel {K55} cannot get the module 580.1: linux-headers-{K55} cannot be installed"
    with pytest.raises(nvidia_kernel_module.BrokenBuild, match=said):
        kernels.settle()


def test_a_broken_build_shows_the_end_of_its_log(machine):
    answers = {"dkms": (10, "", "\n".join(f"line {number}" for number in range(40)))}
    kernels = machine(facts([(K55, False, True, "")]), answers)
    with pytest.raises(nvidia_kernel_module.BrokenBuild, match=f"DKMS cannot build nvidia 580.1 for kernel {K55}") as error:
        kernels.settle()
    assert error.value.log == [f"line {number}" for number in range(25, 40)]


T4 = {"gpus": [{"model": "Tesla T4"}]}


@pytest.mark.parametrize(
    ("found", "commands"),
    [
        (facts([(K55, True, True, "580.1")], **T4), ["modprobe nvidia"]),
        (facts([(K55, True, True, "580.1")]), []),
        (facts([(K55, False, True, "580.1")], **T4), []),
        (facts([(K55, True, True, "580.1")], **T4, nouveau={"loaded": True, "blacklisted": True}), []),
        (facts([(K55, True, True, "580.1")], **T4, driver={"wanted": "", "installed": "580.1", "loaded": "570.1"}), []),
        (facts([(K55, True, True, "580.1")], **T4, driver={"wanted": "", "installed": "580.1", "loaded": "580.1"}), []),
    ],
)
def test_the_module_is_loaded_only_where_it_can_be(machine, found, commands):
    assert worked(machine(found)) == commands


def test_why_the_module_does_not_load_is_kept(machine):
    refused = {"modprobe": (1, "", "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\n")}
    kernels = machine(facts([(K55, True, True, "580.1")], **T4, secure_boot="enabled"), refused)
    kernels.settle()
    assert "Key was rejected by service (Secure Boot is on" in kernels.complaint and kernels.done == []


def test_nothing_is_run_in_check_mode(machine):
    kernels = machine(facts([(K55, True, False, "")], **T4))
    kernels.check = True
    assert worked(kernels) == [] and kernels.done


class Action(action.ActionModule):
    """The plugin, on a machine that says one thing after the other."""

    def __init__(self, *answers, check=False, reboots=None):
        self.answers, self.reboots, self.did = list(answers), reboots or {"rebooted": True}, []
        self._task = type("Task", (), {"args": {"prebuilt": "x-"}, "check_mode": check, "async_val": 0, "diff": False})

    def _execute_module(self, module_args=None, task_vars=None):
        self.did.append(module_args or self._task.args)
        return self.answers.pop(0)

    def reboot(self, names):
        self.did.append("reboot")
        return self.reboots


DUE = {"changed": True, "done": ["built"], "mended": [], "reboot_due": True, "reboot_now": True}
UP = {"changed": False, "done": ["loaded"], "mended": ["loaded"], "reboot_due": False, "reboot_now": False}
OWN = {"prebuilt": "x-"}


@pytest.mark.parametrize(
    ("answers", "check", "reboots", "did", "result"),
    [
        ([UP], False, None, [OWN], UP),
        ([DUE | {"failed": True}], False, None, [OWN], DUE | {"failed": True}),
        ([DUE | {"changed": False}], True, None, [OWN], DUE),
        ([DUE, UP], False, None, [OWN, "reboot", OWN | {"rebooted": True}], UP | {"done": ["built", "loaded"], "changed": True}),
        ([DUE, {"failed": True, "msg": "no"}], False, None, [OWN, "reboot", OWN | {"rebooted": True}], {"failed": True, "msg": "no"}),
        ([DUE], False, {"failed": True, "msg": "late"}, [OWN, "reboot"], DUE | {"failed": True, "msg": "late"}),
    ],
)
def test_a_reboot_that_is_due_is_done_and_looked_after(monkeypatch, answers, check, reboots, did, result):
    monkeypatch.setattr(action.ActionBase, "run", lambda *arguments: {})
    machine = Action(*answers, check=check, reboots=reboots)
    found = machine.run(None, {})
    assert machine.did == did
    assert {key: found[key] for key in result} == result
