"""The two ways into a seat over SSH: an account that no student uses, and the one that the cloud's image made.

The standard library alone, because it also runs where no module can: as root, out of a cell of the seat's Jupyter.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path("/var/lib/classroom")
# Of sudo's rules that fit, the last one holds, and its files are read by name.
RULE = Path("/etc/sudoers.d/zz-classroom")
# SSH takes no key below a folder that others may write to.
ABOVE = ("/", "/etc", "/home", "/var", "/var/lib")
NO_LOGIN = Path("/etc/nologin")
SHADOW = Path("/etc/shadow")
LAST_CHANGE, EXPIRES = 2, 7  # fields of a line there
OTHERS_MAY_WRITE = 0o022
SSHD = "/usr/sbin/sshd"
HOST_KEYS = "ssh_host_*_key"


class NoWayIn(Exception):
    """One sentence that says why a way in cannot be kept; `fix`: what to do in the terminal of the seat's Jupyter, where that is known."""

    def __init__(self, sentence: str, fix: str = "") -> None:
        """Keep both."""
        super().__init__(sentence)
        self.fix = fix


@dataclass(frozen=True)
class Ways:
    """Who comes in: the account of our own, the image's, and the public key of both."""

    account: str
    user: str
    key: str

    @property
    def sudo_rule(self) -> str:
        """Return what sudo reads."""
        head = "# GPU Classroom's runs come in by the first of these accounts, and by the other one if need be.\n"
        return head + "".join(f"{name} ALL=(ALL:ALL) NOPASSWD:ALL\n" for name in dict.fromkeys([self.account, self.user]))


@dataclass
class Keeper:
    """Mends, or with `check` only says what it would; `mended` is what was not as it is to be."""

    check: bool = False
    mended: list[str] = field(default_factory=list)

    def mend(self, words: str, deed: Callable[..., object], *arguments: object) -> None:
        """Note it, and do it."""
        self.mended.append(words)
        if not self.check:
            deed(*arguments)


def run(*command: str) -> None:
    """Run a command; raise NoWayIn with its last words if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoWayIn(f"`{' '.join(command)}` fails: {words[-1].rstrip('.')}")


def entry(name: str) -> pwd.struct_passwd | None:
    """Return an account, if there is one of that name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def give(path: Path, owner: str, mode: int) -> None:
    """Give a path to a user and its group, with a mode."""
    user = pwd.getpwnam(owner)
    os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(mode)


def write(path: Path, text: str, owner: str, mode: int) -> None:
    """Replace a file at once. sudo reads no file with a dot in its name, so not the half of this one."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.write_text(text, encoding="utf-8")
    give(new, owner, mode)
    new.replace(path)


def make_folder(path: Path, owner: str, mode: int) -> None:
    """Make a folder; a file or link in its place gives way."""
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    give(path, owner, mode)


def belongs(path: Path, owner: str, mode: int) -> bool:
    """Say whether a path is a user's and has a mode; in check mode that user may not be there yet."""
    found, user = path.stat(), entry(owner)
    return user is not None and (found.st_uid, found.st_mode & 0o7777) == (user.pw_uid, mode)


def keep_folder(keeper: Keeper, path: Path, owner: str, mode: int) -> None:
    """Have a folder there, whose it is to be."""
    if path.is_symlink() or not path.is_dir():
        keeper.mend(f"{path}: made", make_folder, path, owner, mode)
    elif not belongs(path, owner, mode):
        keeper.mend(f"{path}: owner and mode", give, path, owner, mode)


def keep_file(keeper: Keeper, path: Path, text: str, mode: int) -> None:
    """Have a file of root's there, and nothing else in it."""
    is_file = path.is_file() and not path.is_symlink()
    if not is_file or path.read_text(encoding="utf-8", errors="replace") != text:
        keeper.mend(f"{path}: content", write, path, text, "root", mode)
    elif not belongs(path, "root", mode):
        keeper.mend(f"{path}: owner and mode", give, path, "root", mode)


def ended(name: str) -> bool:
    """Say whether an account has expired, or may come in only with another password."""
    lines = [line.split(":") for line in SHADOW.read_text(encoding="utf-8").splitlines()]
    return any(line[LAST_CHANGE] == "0" or line[EXPIRES] for line in lines if line[0] == name)


def starts(shell: str) -> bool:
    """Say whether a log-in shell lets anybody in. None at all stands for /bin/sh."""
    return not shell or (os.access(shell, os.X_OK) and os.path.basename(shell) not in ("nologin", "false", "true"))


def keep_account(keeper: Keeper, name: str) -> None:
    """Have our own account there, as the launch made it or this does."""
    found, home = entry(name), str(HOME)
    if found is None:
        make = ["useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", "--password", "*"]
        # A group that outlived its account would be in the way of one of the same name.
        make += ["--gid", name] if name in (group.gr_name for group in grp.getgrall()) else []
        keeper.mend(f"account {name}: made", run, *make, name)
    elif (found.pw_dir, found.pw_shell) != (home, "/bin/sh"):
        keeper.mend(f"account {name}: home and shell", run, "usermod", "--home", home, "--shell", "/bin/sh", name)


def keep_own(keeper: Keeper, ways: Ways) -> None:
    """Keep the way by our own account: itself, its key, and sudo's rule."""
    keep_account(keeper, ways.account)
    for path in filter(Path.is_dir, map(Path, ABOVE)):
        if path.stat().st_uid or path.stat().st_mode & OTHERS_MAY_WRITE:
            keeper.mend(f"{path}: owner and mode", give, path, "root", 0o755)
    keep_folder(keeper, HOME, "root", 0o755)
    keep_folder(keeper, HOME / ".ssh", "root", 0o755)
    keep_file(keeper, HOME / ".ssh/authorized_keys", f"{ways.key}\n", 0o644)
    keep_folder(keeper, HOME / ".ansible", ways.account, 0o700)
    keep_file(keeper, RULE, ways.sudo_rule, 0o440)


def keep_user(keeper: Keeper, ways: Ways) -> None:
    """Keep the way by the image's account: a shell that starts, and the class's key beside those that are there."""
    found = entry(ways.user)
    if found is None:
        return
    if not starts(found.pw_shell):
        keeper.mend(f"account {ways.user}: shell", run, "usermod", "--shell", "/bin/bash", ways.user)
    home = Path(found.pw_dir)
    if home.is_dir() and (home.stat().st_uid != found.pw_uid or home.stat().st_mode & OTHERS_MAY_WRITE):
        keeper.mend(f"{home}: owner and mode", give, home, ways.user, home.stat().st_mode & 0o7777 & ~OTHERS_MAY_WRITE)
    keep_folder(keeper, home / ".ssh", ways.user, 0o700)
    keep_key(keeper, home / ".ssh/authorized_keys", ways)


def keep_key(keeper: Keeper, path: Path, ways: Ways) -> None:
    """Have the class's key among those of the image's account."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    # The middle word of a public key is the key itself.
    if ways.key.split()[1] not in text.split():
        rest = f"{text.rstrip()}\n" if text.strip() else ""
        keeper.mend(f"{path}: the class's key", write, path, f"{rest}{ways.key}\n", ways.user, 0o600)
    elif not belongs(path, ways.user, 0o600):
        keeper.mend(f"{path}: owner and mode", give, path, ways.user, 0o600)


def keep(ways: Ways, check: bool = False) -> list[str]:
    """Keep both ways in, and return what was not as it is to be. Raises NoWayIn, in one sentence."""
    keeper = Keeper(check)
    try:
        keep_own(keeper, ways)
        keep_user(keeper, ways)
        for name in filter(ended, (ways.account, ways.user)):
            keeper.mend(f"account {name}: expired", run, "chage", "--expiredate", "-1", "--lastday", "-1", name)
        if NO_LOGIN.exists():
            keeper.mend(f"{NO_LOGIN}: removed", NO_LOGIN.unlink)
    except OSError as error:
        raise NoWayIn(f"{error.filename} cannot be kept ({error.strerror})") from error
    return keeper.mended


def serve() -> None:
    """Have SSH's server start anew; not where its settings are broken, for it may still hold a connection. Raises NoWayIn."""
    if not os.path.exists(SSHD):
        raise NoWayIn("SSH's server is not installed", "type `sudo apt-get install --reinstall openssh-server`")
    for key in Path("/etc/ssh").glob(HOST_KEYS):
        give(key, "root", 0o600)
    run("mkdir", "--parents", "/run/sshd")  # sshd wants it for its test, too
    done = subprocess.run([SSHD, "-t"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        # The first line names file and line, the last one only counts.
        words = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0].strip().rstrip(".")
        raise NoWayIn(f"SSH's server refuses its own settings ('{words}')", "correct that line, then type `sudo systemctl restart ssh`")
    run("systemctl", "unmask", "ssh.service", "ssh.socket")
    run("systemctl", "restart", "ssh")
