"""Git repositories of vim's plugins, under the names that they have on GitHub.

Their content is Debian's where it has the plugin. Vundle and two plugins are stand-ins that say so. A commit depends on the content alone,
and is not GitHub's: the rehearsal's settings read the pins from the file that `publish` returns. Each repository has a later commit too,
which no pin asks for.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rehearsal.mirrors.conda_channel import run

PINS = "vim-plugins.json"
STAND_INS = Path(__file__).with_name("vim_stand_ins")
# In the order of the role's own list.
PLUGINS = {
    "VundleVim/Vundle.vim": "",
    "davidhalter/jedi-vim": "vim-python-jedi",
    "Vimjas/vim-python-pep8-indent": "",
    "dense-analysis/ale": "vim-ale",
    "tpope/vim-fugitive": "vim-fugitive",
    "tpope/vim-commentary": "",
    "vim-airline/vim-airline": "vim-airline",
}
Git = Callable[..., str]


def recipe() -> bytes:
    """All that decides what the plugins hold."""
    return Path(__file__).read_bytes() + b"".join(path.read_bytes() for path in sorted(STAND_INS.rglob("*")) if path.is_file())


def build(out: Path) -> None:
    """Write a folder for each plugin into the new folder `out`.

    Raises channel.ChannelError where a download fails.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-vim-") as folder:
        debian = Path(folder) / "debian"
        unpack(debian, *filter(None, PLUGINS.values()))
        for repository, package in PLUGINS.items():
            source = debian / "usr/share" / package if package else STAND_INS / repository.split("/")[1]
            shutil.copytree(source, out / repository, ignore=shutil.ignore_patterns("tags"))  # vim makes them of the documentation


def unpack(out: Path, *packages: str) -> None:
    """Unpack Debian's packages without what they depend on; mmdebstrap reaches Debian's archive from any distribution."""
    unpacking = f'cd "$1" && apt-get --quiet download {" ".join(packages)} && for deb in *.deb; do dpkg-deb --extract "$deb" .; done'
    run("mmdebstrap", "--quiet", "--variant=custom", f"--extract-hook={unpacking}", "bookworm", str(out))


def publish(out: Path, folders: Path, git: Git) -> Path:
    """Commit the plugins' folders to the repositories below `out`/git, and write the file of pins. git: that of the mirrors."""
    pins = []
    for name in PLUGINS:
        repository = out / "git" / f"{name}.git"
        if not (repository / "HEAD").is_file():
            repository.parent.mkdir(parents=True, exist_ok=True)
            git(repository, "init", "--quiet", "--bare", "--initial-branch=master", str(repository))
        git(repository, f"--work-tree={folders / name}", "add", "--all", "--force", ".", folder=folders / name)
        tree = git(repository, "write-tree")
        pinned = git(repository, "commit-tree", tree, "-m", "The plugin of the rehearsal")
        later = git(repository, "commit-tree", tree, "-p", pinned, "-m", "A later commit, which no class asks for")
        git(repository, "update-ref", "refs/heads/master", later)
        pins.append({"repository": name, "version": pinned})
    draft = out / f".{PINS}"
    draft.write_text(json.dumps(pins, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, out / PINS)
    return out / PINS
