"""The rehearsal's local sources: what they hold, and what they answer over HTTP on loopback."""

import json
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml
import zstandard

from rehearsal.mirrors import build as mirrors_build
from rehearsal.mirrors import conda_channel, vim_plugins


@pytest.fixture
def site(tmp_path: Path):
    """A mirror with a course and a file; its address."""
    course = tmp_path / "course"
    course.mkdir()
    (course / "first.ipynb").write_text("{}\n")
    mirrors_build.prepare_course(tmp_path / "out/git/hello-course.git", course)
    (tmp_path / "out/files").mkdir()
    (tmp_path / "out/files/data.txt").write_text("data\n")
    (tmp_path / "out/.lock").write_text("")
    for name in ("apt/good/Release", "apt-keys/private"):
        (tmp_path / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "out" / name).write_text("text\n")
    server = mirrors_build.serve(tmp_path / "out", "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/checkip", 200, "127.0.0.1\n"),
        ("/files/data.txt", 200, "data\n"),
        ("/files/", 404, ""),
        ("/apt/good/Release", 200, "text\n"),
        ("/apt/good/", 404, ""),
        ("/apt-keys/private", 404, ""),
        ("/apt/../apt-keys/private", 404, ""),
        ("/apt/%2e%2e/apt-keys/private", 404, ""),
        ("/apt/%2e%2e%2fapt-keys/private", 404, ""),
        ("/checkip/../apt-keys/private", 404, ""),
        ("/files/../.lock", 404, ""),
        ("/files/%2e%2e/.lock", 404, ""),
        ("/", 404, ""),
        ("/git/hello-course.git/config", 404, ""),
        ("/git/none.git/info/refs?service=git-upload-pack", 404, ""),
        ("/git/hello-course.git/info/refs?service=git-receive-pack", 403, ""),
    ],
)
def test_only_what_is_offered_is_served(site: str, path: str, status: int, body: str) -> None:
    assert get(site + path) == (status, body)


def test_what_has_not_changed_is_not_sent_again(site: str) -> None:
    """As APT asks for an index that it has already."""
    with urllib.request.urlopen(f"{site}/apt/good/Release", timeout=20) as answer:
        seen = {"If-Modified-Since": answer.headers["Last-Modified"]}
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(urllib.request.Request(f"{site}/apt/good/Release", headers=seen), timeout=20)


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=1-2", 206, "at", "bytes 1-2/5"),
        ("bytes=3-", 206, "a\n", "bytes 3-4/5"),
        ("bytes=0-99", 206, "data\n", "bytes 0-4/5"),
        ("bytes=5-", 416, "", "bytes */5"),
        ("bytes=2-1", 200, "data\n", None),  # no range, so it is ignored; the next ones may be
        ("bytes=-1", 200, "data\n", None),
        ("bytes=0-1,3-4", 200, "data\n", None),
        ("lines=1-2", 200, "data\n", None),
    ],
)
def test_a_range_of_a_file_can_be_had(site: str, asked: str, status: int, body: str, told: str | None) -> None:
    request = urllib.request.Request(f"{site}/files/data.txt", headers={"Range": asked})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert (answer.status, answer.read().decode(), answer.headers["Content-Range"]) == (status, body, told)
    except urllib.error.HTTPError as error:
        assert (error.code, error.headers["Content-Range"]) == (status, told)


def test_the_data_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        mirrors_build.prepare_data(tmp_path / name)
    assert len({(tmp_path / name / "numbers.tar").read_bytes() for name in ("a", "b")}) == 1


def test_the_course_can_be_cloned_and_not_pushed_to(site: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", f"{site}/git/hello-course.git", clone], check=True, timeout=60)
    assert (clone / "first.ipynb").read_text() == "{}\n"
    pushed = subprocess.run(["git", "-C", clone, "push", "origin", "main:other"], capture_output=True, text=True, timeout=60)
    assert pushed.returncode and "403" in pushed.stderr


def test_the_same_course_is_the_same_commit_and_a_new_one_follows_it(tmp_path: Path) -> None:
    course, repositories = tmp_path / "course", [tmp_path / "a.git", tmp_path / "b.git"]
    course.mkdir()
    heads = []
    for text in ("one", "one", "two"):
        (course / "file").write_text(text)
        for repository in repositories:
            mirrors_build.prepare_course(repository, course)
        heads.append({mirrors_build.git(repository, "rev-parse", "main") for repository in repositories})
    assert [len(head) for head in heads] == [1, 1, 1]
    assert heads[0] == heads[1] != heads[2]
    assert mirrors_build.git(repositories[0], "rev-parse", "main~1") in heads[0]


def test_vim_s_plugins_are_the_same_commits_everywhere_and_pinned_before_their_last(tmp_path: Path) -> None:
    for name in vim_plugins.PLUGINS:
        (tmp_path / "folders" / name / "plugin").mkdir(parents=True)
        (tmp_path / "folders" / name / "plugin/it.vim").write_text(name)
    (tmp_path / "folders/dense-analysis/ale/.gitignore").write_text("plugin\n")
    written = [vim_plugins.publish(tmp_path / place, tmp_path / "folders", mirrors_build.git).read_text() for place in ("a", "b", "a")]
    assert len(set(written)) == 1
    pins = json.loads(written[0])
    assert [pin["repository"] for pin in pins] == list(vim_plugins.PLUGINS)
    for pin in pins:
        repository = tmp_path / "a/git" / f"{pin['repository']}.git"
        assert mirrors_build.git(repository, "rev-list", "master").split()[1:] == [pin["version"]]
        assert mirrors_build.git(repository, "show", f"{pin['version']}:plugin/it.vim") == pin["repository"]


def test_the_rehearsal_has_the_plugins_of_the_role() -> None:
    defaults = (Path(__file__).parents[2] / "roles/vim/defaults/main.yml").read_text()
    assert [plugin["repository"] for plugin in yaml.safe_load(defaults)["vim_plugins"]] == list(vim_plugins.PLUGINS)


def test_the_channel_is_built_once_and_survives_a_failed_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(out: Path) -> None:
        out.mkdir(parents=True)
        built.append(out)
        if len(built) > 1:
            raise conda_channel.ChannelError("no network")

    monkeypatch.setattr(conda_channel, "build", build)
    for _ in range(2):
        mirrors_build.prepare_channel(tmp_path / "conda")
    assert len(built) == 1
    (tmp_path / "conda/built-from").write_text("another recipe")
    with pytest.raises(conda_channel.ChannelError):
        mirrors_build.prepare_channel(tmp_path / "conda")
    assert (tmp_path / "conda/conda-forge").is_dir()


def test_a_package_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/tool").write_text("#!/bin/sh\n")
    (tree / "bin/alias").symlink_to("tool")
    package = conda_channel.Package("tool", "1.0", "0", tree, depends=("python",))
    first = conda_channel.write(package, tmp_path / "a").read_bytes()
    (tree / "bin/tool").touch()
    assert conda_channel.write(package, tmp_path / "b").read_bytes() == first


def test_a_package_says_what_conda_asks(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/tool").write_text("tool")
    written = conda_channel.write(
        conda_channel.Package("tool", "1.0", "0", tree, depends=("python",), index={"noarch": "generic"}), tmp_path
    )
    with zipfile.ZipFile(written) as archive:
        data = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read("info-tool-1.0-0.tar.zst"))
    with tarfile.open(fileobj=BytesIO(data)) as info:
        index = json.load(info.extractfile("info/index.json"))
        paths = json.load(info.extractfile("info/paths.json"))["paths"]
    assert (index["name"], index["depends"], index["noarch"], index["subdir"]) == ("tool", ["python"], "generic", "linux-64")
    assert [(path["_path"], path["path_type"], path["size_in_bytes"]) for path in paths] == [("bin/tool", "hardlink", 4)]
