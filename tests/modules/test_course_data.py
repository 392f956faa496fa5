"""classroom.gpu.course_data against a real HTTP server on loopback: what was asked of it, and what a student finds then."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.course import download
from ansible_collections.classroom.gpu.plugins.module_utils.course.download import DataError, Store, inside, settle, size_of

from rehearsal.mirrors import file_server

CONTENT = bytes(range(256)) * 4096
HALF = len(CONTENT) // 2


class Seat:
    """A folder for data, and a server with some."""

    def __init__(self, folder: Path) -> None:
        self.files, self.log, self.root = folder / "files", folder / "log", folder / "data"
        for sub in ("hold", "whole"):
            (self.files / sub).mkdir(parents=True)
        self.root.mkdir()
        self.log.write_text("")
        self.server = file_server.serve(self.files, 0, self.log)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def offer(self, name: str, content: bytes = CONTENT, **more: object) -> dict:
        """Publish a file and return how a course would list it."""
        (self.files / name).write_bytes(content)
        listed = {"url": f"{self.address}/{name}", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return {"dest": "", "unpack": False, "unpacked_size": 0} | listed | more

    def settle(self, *data: dict, check: bool = False, folder: str = "", patience: int = 20) -> dict:
        return settle(Store({"root": str(self.root), "folder": folder, "patience": patience, "data": list(data)}), check)

    def asked(self) -> list[str]:
        """What was asked of the server since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines

    def half(self, listed: dict, content: bytes = CONTENT[:HALF]) -> Path:
        """Leave what an interrupted download leaves."""
        part = self.root / ".course-data" / f"{listed['sha256']}.part"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
        return part

    def names(self) -> list[str]:
        """What a student sees."""
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if path.parts[0] != ".course-data")


@pytest.fixture
def seat(tmp_path: Path):
    one = Seat(tmp_path)
    yield one
    one.server.shutdown()
    one.server.server_close()


def tar(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def zipped(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def linked(kind: bytes, target: str) -> bytes:
    """A tar archive with one file and a link to something."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        file = tarfile.TarInfo("a/file")
        file.size = 1
        archive.addfile(file, io.BytesIO(b"1"))
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = kind, target
        archive.addfile(link)
    return out.getvalue()


def test_data_arrive_are_verified_and_stay(seat: Seat) -> None:
    listed = [seat.offer("a.npy"), seat.offer("b.npy", b"b", dest="deep/er/c.npy")]
    assert seat.settle(*listed, check=True)["changed"] and seat.names() == [] and seat.asked() == []
    result = seat.settle(*listed)
    assert (result["changed"], result["repaired"], result["set_aside"]) == (True, [], [])
    assert result["downloaded"] == [f"{seat.root}/a.npy (1.0 MB)", f"{seat.root}/deep/er/c.npy (1 bytes)"]
    assert seat.names() == ["a.npy", "deep/er/c.npy"] and (seat.root / "a.npy").read_bytes() == CONTENT
    seat.asked()
    for check in (True, False):
        assert not seat.settle(*listed, check=check)["changed"]
    assert seat.asked() == []


def test_what_has_not_changed_is_not_read(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = seat.offer("a.npy")
    seat.settle(listed)
    monkeypatch.setattr(download, "digest", lambda path: pytest.fail(f"read {path}"))
    assert not seat.settle(listed)["changed"]


def test_a_touched_file_is_verified_and_stays(seat: Seat) -> None:
    listed = seat.offer("a.npy")
    seat.settle(listed)
    os.utime(seat.root / "a.npy", (1, 1))
    seat.asked()
    assert not seat.settle(listed, check=True)["changed"] and not seat.settle(listed)["changed"]
    assert seat.asked() == [] and Store({"root": seat.root, "folder": "", "patience": 1, "data": [listed]}).known


@pytest.mark.parametrize("content", [b"short", CONTENT[:-1] + b"?", b""])
def test_an_altered_file_moves_aside_and_is_had_anew(seat: Seat, content: bytes) -> None:
    listed = seat.offer("a.npy")
    seat.settle(listed)
    (seat.root / "a.npy").write_bytes(content)
    result = seat.settle(listed)
    assert result["repaired"] == [f"{seat.root}/a.npy"] and (seat.root / "a.npy").read_bytes() == CONTENT
    assert [Path(path).read_bytes() for path in result["set_aside"]] == [content]
    assert not seat.settle(listed)["changed"]


def test_what_the_student_had_under_that_name_moves_aside(seat: Seat) -> None:
    (seat.root / "a.npy").write_text("mine")
    result = seat.settle(seat.offer("a.npy"))
    assert result["repaired"] == [] and [Path(path).read_text() for path in result["set_aside"]] == ["mine"]


@pytest.mark.parametrize(
    ("name", "part", "asked", "told"),
    [
        ("a", CONTENT[:HALF], [f"bytes={HALF}-"], ", continued at 524.3 kB"),
        ("hold/a", CONTENT[:HALF], [f"bytes={HALF}-"], ", continued at 524.3 kB"),
        ("whole/a", CONTENT[:HALF], [f"bytes={HALF}-"], ", continued at 524.3 kB"),  # answered with all of it
        ("a", b"another file", ["bytes=12-", "all"], ", continued at 12 bytes"),
        ("a", CONTENT, [], ", continued at 1.0 MB"),
        ("a", CONTENT + b"more", ["all"], ", continued at 1.0 MB"),
        ("a", b"", ["all"], ""),
    ],
)
def test_a_half_downloaded_file_is_continued(seat: Seat, name: str, part: bytes, asked: list[str], told: str) -> None:
    listed = seat.offer(name)
    half = seat.half(listed, part)
    assert seat.settle(listed)["downloaded"] == [f"{seat.root}/a (1.0 MB{told})"]
    assert seat.asked() == [f"GET /{name} {what}" for what in asked]
    assert (seat.root / "a").read_bytes() == CONTENT and not half.exists()


def test_a_silent_server_is_given_up_and_the_next_run_continues(seat: Seat) -> None:
    listed = seat.offer("hold/a")
    result = seat.settle(listed, patience=1)  # what arrived is continued at once
    assert result["changed"] and seat.asked() == ["GET /hold/a all", f"GET /hold/a bytes={HALF}-"]


PROGRAM = """
import sys
from ansible_collections.classroom.gpu.plugins.module_utils.course.download import Store, settle
data = {"url": sys.argv[2], "sha256": sys.argv[3], "size": int(sys.argv[4]), "dest": "", "unpack": False, "unpacked_size": 0}
settle(Store({"root": sys.argv[1], "folder": "", "patience": 60, "data": [data]}), False)
"""


def test_a_killed_download_is_continued(seat: Seat) -> None:
    listed = seat.offer("hold/a")
    half = seat.half(listed, b"")  # empty, which is as good as none
    arguments = [str(seat.root), listed["url"], listed["sha256"], str(listed["size"])]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "collections")}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], env=environment) as running:
        deadline = time.monotonic() + 60
        while size_of(half) < HALF and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(DataError, match=f"Process {running.pid} still downloads"):
            seat.settle(listed)
        running.kill()
    assert seat.names() == [] and half.stat().st_size == HALF
    seat.asked()
    assert seat.settle(listed)["changed"]
    assert seat.asked() == [f"GET /hold/a bytes={HALF}-"] and seat.names() == ["a"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"url": "{address}/none"}, "{address}/none cannot be had: the server answers 404 File not found"),
        ({"url": "http://127.0.0.1:9/a"}, "http://127.0.0.1:9/a cannot be had: .*refused"),
        ({"size": 5}, "{address}/a has 1048576 bytes, and 5 are expected"),
        ({"size": 2000000}, "{address}/a has 1048576 bytes, and 2000000 are expected"),
        ({"sha256": "0" * 64}, "{address}/a has the sha256 [0-9a-f]{{64}}, and 0{{64}} is expected"),
        ({"sha256": "short"}, "correct the course's data"),
        ({"url": "file:///etc/passwd"}, "an http address"),
        ({"size": 10**18}, "and the course's data need .* nothing was downloaded.*{address}/a"),
        ({"size": 10**18, "unpack": True}, "nothing was downloaded"),
        ({"unpack": True, "unpacked_size": 10**18}, "nothing was downloaded"),
        ({"unpack": True}, "{address}/a cannot be unpacked into .*not a zip file"),
    ],
)
def test_what_cannot_be_had_is_named_and_leaves_nothing(seat: Seat, wrong: dict, complaint: str) -> None:
    listed = seat.offer("a")
    wrong = {key: value.format(address=seat.address) if key == "url" else value for key, value in wrong.items()}
    with pytest.raises(DataError, match=complaint.format(address=seat.address)):
        seat.settle(listed | {"dest": "deep/a"} | wrong)
    assert seat.names() == [] and not (seat.root / "deep").exists()
    if "nothing was downloaded" in complaint:
        assert seat.asked() == [] and not (seat.root / ".course-data").exists()


def test_space_is_asked_for_all_before_the_first_byte(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [seat.offer("a"), seat.offer("b", b"b" * len(CONTENT))]
    seat.half(listed[0])
    free = len(CONTENT) + HALF
    for room, fits in ((free - 1, False), (free, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, room=room: shutil._ntuple_diskusage(0, 0, room))
        if fits:
            assert seat.settle(*listed)["changed"]
        else:
            with pytest.raises(DataError, match="nothing was downloaded"):
                seat.settle(*listed)
            assert seat.asked() == []


def test_a_file_that_changed_on_the_server_is_begun_anew_and_a_wrong_one_not_kept(seat: Seat) -> None:
    listed = seat.offer("a")
    half = seat.half(listed)
    seat.offer("a", b"?" * len(CONTENT))
    with pytest.raises(DataError, match="sha256"):
        seat.settle(listed)
    assert seat.asked() == [f"GET /a bytes={HALF}-", "GET /a all"] and not half.exists()


@pytest.mark.parametrize("pack", [tar, zipped])
def test_an_archive_is_unpacked_once_and_again_where_its_folder_is_gone(seat: Seat, pack) -> None:
    listed = seat.offer("set", pack(**{"npy/a": "1", "npy/deep/b": "2"}), unpack=True, dest="brats")
    assert seat.settle(listed)["changed"]
    mark = f"brats/.unpacked-{listed['sha256'][:16]}"
    assert seat.names() == [mark, "brats/npy/a", "brats/npy/deep/b"] and (seat.root / "brats/npy/a").read_text() == "1"
    (seat.root / "brats/npy/mine").write_text("mine")
    assert not seat.settle(listed)["changed"]
    (seat.root / mark).unlink()
    (seat.root / "brats/npy/a").write_text("altered")
    result = seat.settle(listed)
    assert result["repaired"] == [f"{seat.root}/brats"] and [Path(path).read_text() for path in result["set_aside"]] == ["altered"]
    assert [(seat.root / "brats/npy" / name).read_text() for name in ("a", "mine")] == ["1", "mine"]
    shutil.rmtree(seat.root / "brats")
    assert seat.settle(listed)["changed"] and not seat.settle(listed)["changed"]


def test_two_archives_share_a_folder(seat: Seat) -> None:
    one, two = (seat.offer(f"{name}.tar", tar(**{name: name}), unpack=True) for name in ("one", "two"))
    result = seat.settle(one, two)
    assert result["repaired"] == [] and {"one", "two"} <= set(seat.names())
    assert not seat.settle(one, two)["changed"]


@pytest.mark.parametrize("name", ["/etc/escaped", "../escaped", "a/../../escaped", "a/..", "."])
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="outside"):
        inside(name)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_an_archive_that_leaves_its_folder_is_refused(seat: Seat, pack) -> None:
    listed = seat.offer("set", pack(**{"fine": "1", "../../escaped": "2"}), unpack=True, dest="brats")
    with pytest.raises(DataError, match="escaped would land outside"):
        seat.settle(listed)
    assert seat.names() == [] and not list(seat.root.parent.rglob("escaped"))


@pytest.mark.parametrize(
    ("kind", "target", "copied"),
    [
        (tarfile.SYMTYPE, "file", True),
        (tarfile.LNKTYPE, "a/file", True),
        (tarfile.SYMTYPE, "/etc/passwd", False),
        (tarfile.FIFOTYPE, "", False),
    ],
)
def test_a_link_is_the_file_that_it_names_or_refused(seat: Seat, kind: bytes, target: str, copied: bool) -> None:
    listed = seat.offer("set", linked(kind, target), unpack=True, dest="brats")
    if copied:
        seat.settle(listed)
        assert (seat.root / "brats/a/link").read_text() == "1" and not (seat.root / "brats/a/link").is_symlink()
    else:
        with pytest.raises(DataError, match="cannot be unpacked"):
            seat.settle(listed)
        assert seat.names() == []


def test_a_folder_without_data_does_not_exist(seat: Seat) -> None:
    folder = seat.root / "brats/npy"
    missing = seat.offer("a") | {"url": f"{seat.address}/none"}
    with pytest.raises(DataError):
        seat.settle(missing, folder=str(folder))
    assert not folder.parent.exists()
    seat.settle(seat.offer("a"), folder=str(folder))
    assert seat.names() == ["brats/npy/a"]


def test_what_is_no_longer_wanted_leaves_no_half_file(seat: Seat) -> None:
    gone, wanted = seat.offer("gone"), seat.offer("a", b"a")
    half = seat.half(gone)
    seat.settle(wanted)
    assert not half.exists()


def test_another_disk_is_reached_in_one_step_too(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def replace(path: Path, target: Path) -> Path:
        if ".course-data" in str(path) and ".course-data" not in str(target):
            raise OSError(download.errno.EXDEV, "Invalid cross-device link")
        real(path, target)
        return target

    monkeypatch.setattr(Path, "replace", replace)
    listed = seat.offer("a")
    assert seat.settle(listed)["changed"] and seat.names() == ["a"]
    assert not seat.settle(listed)["changed"]
