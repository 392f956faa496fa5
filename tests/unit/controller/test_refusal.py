"""What SSH, a log-in shell and sudo say becomes one sentence, with the cause and the way back."""

from __future__ import annotations

import pytest
from ansible_collections.classroom.gpu.plugins.plugin_utils import refusal

SEAT = refusal.Seat("s01", "198.18.0.7", "i-0123456789abcdef0", "/c")
SSH = "Failed to connect to the host via ssh: "
DATA = 'Data could not be sent to remote host "198.18.0.7". Make sure this host can be reached over ssh: '
DENIED = "ubuntu@198.18.0.7: Permission denied (publickey)."
JUPYTER = "`ansible-playbook site.yml -e seats=s01` puts it right through the seat's Jupyter."

# What is said, which cause that is, and the part of the sentence that tells it.
SAID = {
    "no key": (DATA + DENIED, "KEY", "as ubuntu, the class's key is not taken"),
    "a warning besides": (
        f"{DATA}Warning: Permanently added 'i-1' (ED25519) to the list of known hosts.\r\n{DENIED}",
        "KEY",
        "is not taken",
    ),
    "no shell": ("This account is currently not available.\n", "NOLOGIN", "lets nobody in ('This account is currently not available')"),
    "old sudo": ("Missing sudo password", "SUDO", "may not become root ('Missing sudo password')"),
    "no rule": ("sudo: a password is required", "SUDO", "may not become root ('sudo: a password is required')"),
    "no sudoer": ("ubuntu is not in the sudoers file.", "SUDO", "may not become root ('ubuntu is not in the sudoers file')"),
    "no setuid": ("sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", "SUDO", "setuid bit set')"),
    "no sudo": ("/bin/sh: 1: /usr/bin/sudo: not found", "SUDO", "may not become root ('/bin/sh: 1: /usr/bin/sudo: not found')"),
    "open sudoers": ("sudo: /etc/sudoers is world writable\nsudo: no valid sudoers sources found, quitting", "SUDO", "no valid sudoers"),
    "expired": (f"{SSH}Your account has expired; please contact your system administrator.\nConnection closed", "EXPIRED", "has expired"),
    "hangs": ("Timeout (12s) waiting for privilege escalation prompt: ", "HANGS", "as ubuntu, the login shell, or sudo, hangs"),
    "refused": (f"{SSH}ssh: connect to host 198.18.0.7 port 22: Connection refused", "CLOSED", "SSH's server on it does not run"),
    "stopped": (
        f"{SSH}Connection timed out during banner exchange\r\nConnection to 198.18.0.7 port 22 timed out",
        "MUTE",
        "server on it hangs",
    ),
    "silent": (f"{SSH}ssh: connect to host 198.18.0.7 port 22: Connection timed out", "SILENT", "nothing answers at port 22 of 198.18.0.7"),
    "dropped": (
        f"{SSH}kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 1.2.3.4",
        "DROPPED",
        "each connection",
    ),
    "reset": (f"{SSH}kex_exchange_identification: read: Connection reset by peer", "DROPPED", "Connection reset by peer"),
    "no route": (f"{SSH}ssh: connect to host 198.18.0.7 port 22: No route to host", "ROUTE", "no way leads from here to 198.18.0.7"),
    "booting": (f'{DATA}"System is booting up. Unprivileged users are not permitted to log in yet."', "BOOTS", "booting or shutting down"),
    "other host": (
        f"{SSH}@@@@\nREMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
        "HOST_KEY",
        "ssh-keygen -R i-0123456789abcdef0 -f '/c/known_hosts'",
    ),
    "own key": (f"{DATA}no such identity: /c/id_ed25519: No such file or directory\r\n{DENIED}", "OWN_KEY", "No such file or directory"),
    "bad key": (f'{DATA}Load key "/c/id_ed25519": error in libcrypto\r\n{DENIED}', "OWN_KEY", "chmod 0600 '/c/id_ed25519'"),
    "anything": (f"{SSH}a thing that nobody knows", "OTHER", "SSH ends with 'a thing that nobody knows'"),
}


def heard(text: str, account: str = "ubuntu") -> refusal.Heard:
    """Return what one account hears where that is said."""
    error = refusal.Unheard(refusal.kind_of(text), text)
    return refusal.Heard(account, error.kind, error.said)


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_becomes_a_cause(name: str) -> None:
    text, kind, part = SAID[name]
    one = heard(text)
    sentence = str(refusal.Refused(SEAT, [one]))
    assert one.kind is getattr(refusal, kind)
    assert part in sentence and sentence.startswith("s01 ") and sentence.endswith(".") and "{" not in sentence, sentence
    assert not set("\r\n") & set(sentence)


def test_only_an_account_of_its_own_matter_sends_to_another() -> None:
    kinds = {name for name, kind in vars(refusal).items() if isinstance(kind, refusal.Kind) and kind.account}
    assert kinds == {"KEY", "NOLOGIN", "EXPIRED", "SHELL", "HANGS", "SUDO"}
    assert not any(getattr(refusal, name).boots for name in kinds)


def test_a_boot_is_told_from_a_refusal() -> None:
    assert [refusal.Refused(SEAT, [heard(text)]).boots for text, *_ in (SAID["refused"], SAID["no key"])] == [True, False]


@pytest.mark.parametrize(
    ("text", "kind"), [("hello\n", refusal.SHELL), ("", refusal.SHELL), ("sudo: a password is required", refusal.SUDO)]
)
def test_a_log_in_that_ended_by_itself_is_the_shells_or_sudos(text: str, kind: refusal.Kind) -> None:
    assert refusal.before_the_command(text) is kind


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (127, "/bin/sh: 1: /usr/bin/python3: not found", refusal.PYTHON),
        (1, "Fatal Python error: init_fs_encoding: failed to get the Python codec", refusal.PYTHON),
        (1, "Traceback (most recent call last):", None),
        (0, '{"msg": "python3: not found"}', None),
    ],
)
def test_a_python_that_does_not_run_is_told_from_a_module_that_fails(code: int, text: str, kind: refusal.Kind | None) -> None:
    assert refusal.broken_python(code, text) is kind


def test_accounts_that_hear_the_same_are_named_together_and_others_apart() -> None:
    key, sudo = SAID["no key"][0], SAID["no rule"][0]
    both = str(refusal.Refused(SEAT, [heard(key, "classroom"), heard(key)]))
    assert both.startswith("s01 lets nobody in: as classroom and as ubuntu, the class's key is not taken") and both.endswith(JUPYTER)
    apart = str(refusal.Refused(SEAT, [heard(key, "classroom"), heard(sudo)]))
    assert "as classroom, the class's key" in apart and "; as ubuntu, the account may not become root" in apart
    assert "playbooks/teardown.yml -e seats=s01" in apart


def test_what_is_no_accounts_matter_is_all_that_counts() -> None:
    text = str(refusal.Refused(SEAT, [heard(SAID["no key"][0], "classroom"), heard(SAID["refused"][0])]))
    assert text == f"s01 cannot be reached over SSH: SSH's server on it does not run (port 22: connection refused). {JUPYTER}"


def test_where_jupyter_did_not_help_it_is_not_named_as_the_way_back() -> None:
    error = refusal.Refused(SEAT, [heard(SAID["no key"][0])]).without("nothing listens there")
    assert JUPYTER not in str(error) and "Its Jupyter does not help (nothing listens there)" in str(error)
    assert "teardown.yml -e seats=s01" in str(error)
    assert "stop.yml -e seats=s01" in str(refusal.Refused(SEAT, [heard(SAID["stopped"][0])]).without("{x}"))


def test_what_a_person_can_do_in_jupyter_is_the_only_way_back_that_is_named() -> None:
    error = refusal.Refused(SEAT, [heard(SAID["stopped"][0])]).without("SSH's server refuses its settings ('line {7}')", fix="correct it")
    assert str(error).endswith(". SSH's server refuses its settings ('line (7)'). In the terminal of its Jupyter correct it.")
    assert "stop.yml" not in str(error)


def test_a_port_that_a_rule_on_the_seat_closes_is_told_from_a_network_that_is_not_let_in() -> None:
    error = refusal.Refused(SEAT, [heard(SAID["silent"][0])])
    assert "access.yml -e here=true" in str(error) and "access.yml -e here=true" in str(error.without("timed out"))
    told = str(error.without("it put right what it could", answered=True))
    assert "a rule on the seat closes the port: `sudo nft list ruleset`" in told and "access.yml" not in told
