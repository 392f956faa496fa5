"""What classroom.gpu.apt_set concludes from what dpkg, APT and files say."""

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.apt import packages as apt_packages
from ansible_collections.classroom.gpu.plugins.module_utils.apt.stage import Failed
from ansible_collections.classroom.gpu.plugins.module_utils.gpu.cudnn import library_version, spelled
from ansible_collections.classroom.gpu.plugins.modules.apt_set import AptSet

WANTED = apt_packages.Wanted(packages=["driver"], version="580.*", pins=["driver*", "lib*"], purge=["driver-*", "old-*"], unpinned=["dkms"])
NEEDS = "lib (= 580.2-1), kernel-a | kernel-b, dkms"
FINE = {"driver": ("580.2-1", NEEDS), "lib": ("580.2-1", ""), "kernel-b": ("1", ""), "dkms": ("3", "")}
NOTHING = apt_packages.Work([], [], [], [], [])


def listing(packages: dict[str, tuple]) -> str:
    """What dpkg-query prints for packages given as version, dependencies and, if not held and installed, selection, status and flag."""
    rows = [("dpkg", "1.21", "amd64", "install", "installed", "ok", "", "", "")]
    for name, (version, depends, *state) in packages.items():
        want = "hold" if name in ("driver", "lib") else "install"
        rows.append((name, version, "amd64", *(state or (want, "installed", "ok")), "", depends, ""))
    return "".join("\t".join(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("change", "work"),
    [
        ({}, {}),
        ({"driver": None}, {"missing": ["driver"]}),
        ({"dkms": None}, {"missing": ["dkms"]}),
        ({"kernel-b": None}, {"missing": ["kernel-a"]}),
        ({"kernel-b": None, "kernel-a": ("1", "")}, {}),
        ({"lib": ("580.2-1", "", "hold", "config-files", "ok")}, {"missing": ["lib"]}),
        ({"lib": ("580.2-1", "", "hold", "installed", "reinstreq")}, {"missing": ["lib"]}),
        ({"lib": ("580.2-1", "", "hold", "half-installed", "ok")}, {"missing": ["lib"]}),
        ({"lib": ("580.2-1", "", "hold", "half-configured", "ok")}, {"halfway": ["lib"]}),
        ({"lib": ("580.2-1", "", "hold", "triggers-pending", "ok")}, {"halfway": ["lib"]}),
        ({"other": ("1", "", "install", "half-configured", "ok")}, {}),
        ({"lib": ("595.1-1", "", "hold", "installed", "ok")}, {"misplaced": ["lib"]}),
        ({"lib": ("580.2-1", "", "install", "installed", "ok")}, {"unheld": ["lib"]}),
        ({"lib": ("580.1-1", "", "hold", "installed", "ok")}, {"misplaced": ["lib"]}),
        ({"libtool": ("2.4", "")}, {}),
        ({"lib-more": ("580.2-1", "", "install", "installed", "ok")}, {"unheld": ["lib-more"]}),
        ({"old-driver": ("535.1", "")}, {"stray": ["old-driver"]}),
        ({"driver-x": ("580.2-1", "")}, {"stray": ["driver-x"]}),
    ],
)
def test_what_is_to_do(change: dict, work: dict) -> None:
    packages = {name: state for name, state in (FINE | change).items() if state}
    assert apt_packages.work(apt_packages.installed(listing(packages)), WANTED) == NOTHING._replace(**work)


def test_a_foreign_architecture_does_not_count() -> None:
    rows = listing(FINE) + "lib\t1\ti386\tinstall\tinstalled\tok\t\t\t\n"
    assert apt_packages.installed(rows)["lib"].version == "580.2-1"


@pytest.mark.parametrize(
    ("versions", "present"),
    [
        (("580.2-1", "580.2-1", "580.2-1"), "580.2-1"),
        (("580.2-1", "580.1-1", "580.2-1"), "580.2-1"),
        (("580.1-1", "580.2-1", "595.1-1"), ""),
        (("595.1-1", "595.1-1", "595.1-1"), ""),
    ],
)
def test_a_repair_keeps_the_version_that_most_parts_have(versions: tuple[str, ...], present: str) -> None:
    packages = FINE | {"driver": (versions[0], "lib, lib2"), "lib": (versions[1], ""), "lib2": (versions[2], "")}
    assert apt_packages.present_version(apt_packages.installed(listing(packages)), WANTED) == present


@pytest.mark.parametrize(
    ("depends", "groups"),
    [
        ("", ()),
        ("a (>= 1.2), b", (("a",), ("b",))),
        ("a:any (= 1) | b [amd64],c", (("a", "b"), ("c",))),
    ],
)
def test_alternatives(depends: str, groups: tuple) -> None:
    assert apt_packages.alternatives(depends) == groups


@pytest.mark.parametrize(("version", "wrong"), [("1.0-1", set()), ("1.1-1", {"firmware"})])
def test_a_part_that_another_needs_in_one_version_may_provide_itself_without_its_revision(version: str, wrong: set[str]) -> None:
    driver = apt_packages.Package("driver", "1.0-1", True, "installed", True, frozenset(), (("firmware", "1.0"),), frozenset())
    firmware = driver._replace(name="firmware", version=version, exact=())
    assert apt_packages.mismatched({"driver": driver, "firmware": firmware}, ["driver", "firmware"]) == wrong


def test_versions_that_a_package_needs_exactly() -> None:
    assert apt_packages.exactly("a (= 1.0-1), b (>= 2) | c:amd64 (= 3), d") == (("a", "1.0-1"), ("c", "3"))


def test_an_altered_file_is_told_from_one_of_other_settings() -> None:
    text = apt_packages.pin_text(WANTED)
    assert apt_packages.intact(text) and apt_packages.intact(apt_packages.pin_text(WANTED._replace(version="595.*")))
    assert not apt_packages.intact(text.replace("580", "595")) and not apt_packages.intact("") and not apt_packages.intact("# mine\n")
    assert "Package: driver* lib* driver\nPin: version 580.*\nPin-Priority: 1001\n" in text
    assert "Pin:" not in apt_packages.pin_text(WANTED._replace(version=""))


URI = "http://mirror.example/repo/"
STANZA = "Types: deb\nURIs: http://mirror.example/repo\nSuites: /\nSigned-By: /x\n"
DEBIAN = "deb http://deb.example/debian bookworm main\n"


@pytest.mark.parametrize(
    ("text", "deb822", "rest"),
    [
        (DEBIAN, False, None),
        ("# deb http://mirror.example/repo/ /\n", False, None),
        (f"deb http://mirror.example/repo /\n{DEBIAN}", False, DEBIAN),
        ("deb [signed-by=/x] http://mirror.example/repo/ /\n", False, "\n"),
        ("deb http://mirror.example/repo/other /\n", False, None),
        (STANZA, True, "\n"),
        (f"{STANZA}\nTypes: deb\nURIs: http://deb.example\n", True, "Types: deb\nURIs: http://deb.example\n"),
    ],
)
def test_other_entries_for_the_same_source_go(text: str, deb822: bool, rest: str | None) -> None:
    assert apt_packages.without(text, URI, deb822) == rest
    assert rest is None or apt_packages.active(rest) == ("example" in rest)


@pytest.mark.parametrize(
    ("colons", "found"),
    [
        ("", []),
        ("pub:-:3072\nfpr:::::::::AAAA:\nuid:x\nsub:-:3072\nfpr:::::::::BBBB:\n", ["AAAA"]),
        ("pub:-\nfpr:::::::::AAAA:\npub:-\nfpr:::::::::CCCC:\n", ["AAAA", "CCCC"]),
    ],
)
def test_only_primary_keys_count(colons: str, found: list[str]) -> None:
    assert apt_packages.fingerprints(colons) == found


SIMULATION = """Reading package lists...
Remv old-driver [535.1] [driver:amd64 ]
Purg libold [1]
Inst lib [580.1-1] (580.2-1 NVIDIA:/ [amd64]) []
Inst driver (580.2-1 NVIDIA:/ [amd64])
Conf lib (580.2-1 NVIDIA:/ [amd64])
"""


def test_a_plan_of_apt_is_read() -> None:
    assert apt_packages.steps(SIMULATION) == apt_packages.Steps({"lib": "580.2-1", "driver": "580.2-1"}, {"old-driver", "libold"})


@pytest.mark.parametrize(
    ("plan", "part"),
    [
        (apt_packages.Steps({"driver": "580.2-1", "new": "1"}, {"old-driver", "lib"}), ""),
        (apt_packages.Steps({}, {"editor"}), "APT would remove editor"),
        (apt_packages.Steps({"kept": "2"}, set()), "APT would change kept, which somebody holds. Type: apt-mark unhold kept"),
        (apt_packages.Steps({"driver": "595.1-1"}, set()), "APT would take driver 595.1-1, not version 580.*"),
    ],
)
def test_a_plan_that_touches_more_is_refused(plan: apt_packages.Steps, part: str) -> None:
    found = apt_packages.installed(listing(FINE | {"kept": ("1", "", "hold", "installed", "ok")}))
    objection = apt_packages.objection(plan, found, WANTED, [])
    assert part in objection and bool(part) == bool(objection)


# Real words of apt 2.6, shortened.
SAID = [
    ("W: GPG error: http://h/: NO_PUBKEY 12\nE: It is not signed.", "http://h/ is not signed by the key ABCD"),
    ("E: Failed to fetch http://h/P.gz  Hash Sum mismatch\n   Hashes of expected file:", "The index of http://h/ is not what"),
    ("E: Failed to fetch http://h/./a_1.deb  File has unexpected size (1 != 2). Mirror sync?", "The package http://h/./a_1.deb is not"),
    ("E: Failed to fetch http://h/I  Could not connect to h:9 (1.2.3.4). - connect", "cannot be reached (Could not connect to h:9)"),
    ("E: Failed to fetch http://h/I  Temporary failure resolving 'h'", "http://h/ cannot be reached (failure resolving 'h')"),
    ("E: The repository 'http://h  Release' does not have a Release file.", "There is no such repository"),
    ("E: Could not get lock /var/lib/dpkg/lock. It is held by process 7 (apt-get)\n", "Process 7 (apt-get) kept the package lock"),
    ("E: Could not get lock /var/lib/dpkg/lock. ", "kept the lock /var/lib/dpkg/lock for 9 s"),
    ("E: You don't have enough free space in /var/cache/.", "The disk is full (/var/cache/): make room"),
    (
        "E: Conflicting values set for option Signed-By regarding source http://h/ /: a != b",
        "Two sources lists disagree: Signed-By regarding source http://h/",
    ),
    ("E: Something new\nE: Twice", "APT cannot do it for http://h/: Something new Twice"),
    ("", "it gave no reason"),
]


@pytest.mark.parametrize(("complaint", "part"), SAID)
def test_a_complaint_of_apt_becomes_one_sentence(complaint: str, part: str) -> None:
    assert part in apt_packages.sentence(complaint, "http://h/", "ABCD", 9)


def test_what_a_source_has_is_named_in_order() -> None:
    names = ["pinning-580", "pinning-1000", "pinning-595", "pinning-595.91", "other"]
    assert apt_packages.chosen(names, r"pinning-(\d+)") == ["580", "595", "1000"]
    found = apt_packages.madison(" a | 9.20-1 | http://h/\n a | 9.3-1 | http://h/\nN: x\n b | 1 | http://h/\n")
    assert found == {"a": ["9.3-1", "9.20-1"], "b": ["1"]}
    assert [apt_packages.chosen_version(found["a"], glob) for glob in ("", "9.3-*", "8.*")] == ["9.20-1", "9.3-1", ""]


@pytest.mark.parametrize(("number", "version"), [(92801, "9.28.1"), (92000, "9.20.0"), (90100, "9.1.0"), (8907, "8.9.7"), (7005, "7.0.5")])
def test_cudnn_spells_its_version(number: int, version: str) -> None:
    assert spelled(number) == version


def test_what_is_no_cudnn_has_no_version(tmp_path) -> None:
    assert library_version(str(tmp_path / "none")) == library_version("libc.so.6") == ""


class Machine:
    """What dpkg has before and after it went on, whether it then complains, and what it was asked for."""

    def __init__(self, before: dict, after: dict, complains: bool = False, unwritten: tuple[bool, ...] = (False,)) -> None:
        self.states, self.complains, self.books = [before, after], complains, list(unwritten)
        self.module, self.asked, self.warned = self, [], []

    def found(self) -> dict:
        return apt_packages.installed(listing(self.states[bool(self.asked)]))

    def unwritten(self) -> bool:
        return self.books.pop(0) if len(self.books) > 1 else self.books[0]

    def dpkg(self, *arguments: str) -> None:
        self.asked.append(arguments)
        if self.complains:
            raise Failed("dpkg --configure failed: other: its script ended with status 1")

    def warn(self, sentence: str) -> None:
        self.warned.append(sentence)


HALF, WHOLE = (FINE | {"other": ("1", "", "install", status, "ok")} for status in ("half-configured", "installed"))


@pytest.mark.parametrize(
    ("machine", "check", "news", "mended", "warned"),
    [
        (Machine(FINE, FINE), False, False, [], False),
        (Machine(HALF, WHOLE), False, True, ["other was half configured: configured"], False),
        (Machine(HALF, WHOLE), True, True, [], False),
        (Machine(HALF, HALF, complains=True), False, False, [], True),  # somebody else's to mend: nothing else waits for it
        (Machine(FINE, FINE, unwritten=(True, False)), False, True, ["dpkg was stopped in the middle of its books: they are whole"], False),
        (Machine(FINE | {"lib": ("580.2-1", "", "hold", "half-configured", "ok")}, FINE), False, False, [], False),  # the set's own, later
    ],
)
def test_dpkg_goes_on_with_what_it_was_stopped_in(machine: Machine, check: bool, news: bool, mended: list[str], warned: bool) -> None:
    asked = AptSet.__new__(AptSet)
    asked.machine, asked.check, asked.wanted, asked.mended = machine, check, WANTED, []
    after, changed = asked.go_on(machine.found())
    assert (changed, asked.mended, bool(machine.warned)) == (news, mended, warned)
    assert after == machine.found() and bool(machine.asked) == (not check and (bool(mended) or warned))
