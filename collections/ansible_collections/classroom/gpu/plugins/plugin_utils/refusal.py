"""What SSH, a log-in shell and sudo said when a command did not come to run on a seat: which cause that is, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible.errors import AnsibleConnectionFailure


@dataclass(frozen=True)
class Kind:
    """A cause.

    Attributes:
        clause: what it is, in words.
        back: what to do about it.
        account: it is one account's matter, so that another may be let in.
        boots: a machine that is still booting shows it, too.
    """

    clause: str
    back: str = ""
    account: bool = False
    boots: bool = False


# {seat}, {address}, {instance}, {folder} and {said}, the last thing that was said, are filled in.
BY_JUPYTER = "`ansible-playbook site.yml -e seats={seat}` puts it right through the seat's Jupyter"
POWER = "`ansible-playbook playbooks/stop.yml -e seats={seat}` and then `ansible-playbook site.yml -e seats={seat}` boot it anew"
ANEW = (
    "Have its files saved in Jupyter, then `ansible-playbook playbooks/teardown.yml -e seats={seat}` "
    "and `ansible-playbook site.yml -e seats={seat}` give another machine"
)
ACCESS = "If this computer is in another network than before, type `ansible-playbook playbooks/access.yml -e here=true`; if not, "
TRUST = "If somebody gave the seat new keys on purpose, type `ssh-keygen -R {instance} -f '{folder}/known_hosts'`; if not, do not go on"
OWN = "Bring {folder} back from the computer that made it, or give the key its rights: `chmod 0600 '{folder}/id_ed25519'`"
RULE = (
    "Its Jupyter answers, so a rule on the seat closes the port: `sudo nft list ruleset` in Jupyter's terminal shows it, "
    "and a boot ends one that is in no file. "
)
REINSTALL = "In the terminal of its Jupyter type `sudo apt-get install --reinstall python3-minimal`"

KEY = Kind("the class's key is not taken (the key file was emptied, or the login shell does not exist)", BY_JUPYTER, account=True)
NOLOGIN = Kind("the login shell lets nobody in ('{said}')", BY_JUPYTER, account=True)
EXPIRED = Kind("the account has expired ('{said}')", BY_JUPYTER, account=True)
SHELL = Kind("the login shell ends before anything runs, as a .bashrc with an exit does ('{said}')", BY_JUPYTER, account=True)
HANGS = Kind("the login shell, or sudo, hangs", BY_JUPYTER, account=True)
SUDO = Kind("the account may not become root ('{said}')", ANEW, account=True)
CLOSED = Kind("SSH's server on it does not run (port 22: connection refused)", BY_JUPYTER, boots=True)
MUTE = Kind("SSH's server on it hangs (port 22 takes connections and says nothing)", BY_JUPYTER, boots=True)
DROPPED = Kind("SSH's server on it ends each connection ('{said}'), as with broken settings or host keys", BY_JUPYTER, boots=True)
SILENT = Kind("nothing answers at port 22 of {address}", ACCESS + POWER, boots=True)
ROUTE = Kind("no way leads from here to {address} ('{said}')", "Look at this computer's network, then run the same again", boots=True)
BOOTS = Kind("it is booting or shutting down ('{said}')", "Run the same again in a minute", boots=True)
LOST = Kind("it was lost in the middle of a task ('{said}')", "Run the same again once it answers")
HOST_KEY = Kind("what answers at {address} has another host key than at the first contact", TRUST)
OWN_KEY = Kind("the class's private key cannot be used here ('{said}')", OWN)
PYTHON = Kind("its /usr/bin/python3 does not run ('{said}')", REINSTALL)
OTHER = Kind("SSH ends with '{said}'", POWER, boots=True)

# The first that fits holds. What is said at the log-in comes before what ends because of it.
SIGNS: tuple[tuple[str, Kind], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed", HOST_KEY),
    (r"no such identity:|Load key \".*\":|UNPROTECTED PRIVATE KEY", OWN_KEY),
    (r"System is (booting up|going down)|Unprivileged users are not permitted|shut ?down in progress", BOOTS),
    (r"(account|password) has expired|required to change your password|account is (locked|disabled)", EXPIRED),
    (r"account is (currently )?not available", NOLOGIN),
    (r"sudo: |in the sudoers file|not allowed to (run sudo|execute)|Missing sudo password|sudo: .*not found", SUDO),
    (r"waiting for privilege escalation prompt", HANGS),
    (r"Permission denied|Too many authentication failures|No supported authentication", KEY),
    (r"banner exchange.*timed out|timed out during banner exchange|banner exchange: .* timeout", MUTE),
    (r"Connection refused", CLOSED),
    (r"No route to host|Network is unreachable|Could not resolve hostname", ROUTE),
    (r"not responding|[Tt]imed out", SILENT),
    (r"kex_exchange_identification|banner exchange|Connection (closed|reset)|Broken pipe|ssh_dispatch_run_fatal", DROPPED),
)
NO_PYTHON = re.compile(r"python3: (not found|Permission denied|No such file|cannot execute)|^Fatal Python error", re.MULTILINE)
# What comes before what SSH said, in the words of Ansible; and what SSH says besides.
FRAME = re.compile(r"^.*?(?:via ssh|over ssh): ", re.DOTALL)
NOISE = re.compile(r"Warning: Permanently added|ControlSocket|mux_client|^debug\d:|^@+$|^Connection to \S+ closed|^Shared connection")
LONGEST = 120


@dataclass(frozen=True)
class Heard:
    """What became of one account: which cause, and the last thing that was said."""

    account: str | None
    kind: Kind
    said: str = ""


class Unheard(Exception):
    """A command did not come to run by one account."""

    def __init__(self, kind: Kind, text: str, code: int | None = None) -> None:
        """Keep the cause and the last line that tells something; an exit status where nothing was said."""
        super().__init__(text)
        self.kind, self.said = kind, last_line(text, kind) or (f"exit status {code}" if code is not None else "nothing")


@dataclass(frozen=True)
class Seat:
    """What a sentence calls a seat, its machine and the class's folder."""

    seat: str
    address: str
    instance: str
    folder: str


class Refused(AnsibleConnectionFailure):
    """A seat that no account comes to: Ansible's `unreachable`, with the cause in a sentence."""

    def __init__(self, seat: Seat, heard: list[Heard], jupyter: str = "", answered: bool = False, fix: str = "") -> None:
        """Keep what each account heard; jupyter: why that way does not lead there either, answered: although it was gone.

        fix: what a person can do in Jupyter's terminal.
        """
        super().__init__(sentence(seat, heard, jupyter, answered, fix))
        self.seat, self.heard = seat, heard

    @property
    def boots(self) -> bool:
        """Say whether a machine that is still booting would have said the same."""
        return self.heard[-1].kind.boots

    def without(self, jupyter: str, answered: bool = False, fix: str = "") -> Refused:
        """Return the same where Jupyter, which was tried in its turn, did not help."""
        return Refused(self.seat, self.heard, jupyter, answered, fix)


def kind_of(text: str) -> Kind:
    """Return the cause that an error of SSH's, or of Ansible's about it, tells."""
    return next((kind for sign, kind in SIGNS if re.search(sign, text)), OTHER)


def before_the_command(text: str) -> Kind:
    """Return the cause where the account's log-in ended by itself; only what speaks of an account or a boot is one."""
    kind = kind_of(text)
    return kind if kind in (BOOTS, EXPIRED, NOLOGIN, SUDO) else SHELL


def broken_python(code: int, text: str) -> Kind | None:
    """Return the cause where a module did not run for want of a Python that does."""
    return PYTHON if code and NO_PYTHON.search(text) else None


def last_line(text: str, kind: Kind) -> str:
    """Return the last line that tells something, best one that has a sign of the cause; without the frame around it, and not too long."""
    lines = [line.strip() for line in FRAME.sub("", text).splitlines()]
    lines = [line for line in lines if line and not NOISE.search(line)]
    telling = [line for line in lines if any(found is kind and re.search(sign, line) for sign, found in SIGNS)]
    return (telling or lines or [""])[-1][:LONGEST].rstrip(".")


def sentence(seat: Seat, heard: list[Heard], jupyter: str, answered: bool, fix: str) -> str:
    """Return what is wrong with a seat and what to do about it. What is no account's own matter is all that counts."""
    last = heard[-1]
    back = way_back(last.kind, jupyter, answered, fix).format(**vars(seat))
    if not last.kind.account:
        return f"{seat.seat} cannot be reached over SSH: {clause(last, seat)}. {back}."
    accounts: dict[str, list[str]] = {}
    for one in heard:
        accounts.setdefault(clause(one, seat), []).append(str(one.account))
    told = "; ".join(f"as {' and as '.join(names)}, {words}" for words, names in accounts.items())
    return f"{seat.seat} lets nobody in: {told}. {back}."


def clause(one: Heard, seat: Seat) -> str:
    """Fill in what was said."""
    return one.kind.clause.format(said=one.said.replace("'", '"'), **vars(seat))


def way_back(kind: Kind, jupyter: str, answered: bool, fix: str) -> str:
    """Return what to do; where Jupyter was to put it right and did not, why, and what is left."""
    jupyter = jupyter.replace("{", "(").replace("}", ")")
    if fix:
        return f"{jupyter[:1].upper()}{jupyter[1:]}. In the terminal of its Jupyter {fix}"
    if answered and kind is SILENT:
        return RULE + POWER
    if not jupyter or kind.back != BY_JUPYTER:
        return kind.back
    return f"Its Jupyter does not help ({jupyter}). {ANEW if kind.account else POWER}"
