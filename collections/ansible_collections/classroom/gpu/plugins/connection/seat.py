"""The way to a seat: SSH by the organiser's own account, then by the cloud's, and in words what either of them says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import current_process, parent_process

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ssh
from ansible_collections.classroom.gpu.plugins.plugin_utils import refusal
from ansible_collections.classroom.gpu.plugins.plugin_utils.seat_options import DOCUMENTATION

__all__ = ["DOCUMENTATION", "Connection"]  # Ansible reads its options from this name


class Connection(ssh.Connection):
    """As ansible.builtin.ssh, but that a seat which refuses one account is asked for another, and that a refusal is told from silence.

    A command that became root ran: what happens then is its own matter, and it is never run a second time.
    """

    _shell_type = "classroom.gpu.deaf"

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)
        self.became = False

    @staticmethod
    def _create_control_path(host: str, port: int | None, user: str, connection: object = None, pid: int | None = None) -> str:
        """Share a connection within a run alone: that of an earlier run may lead to a server that answers nobody any more."""
        return ssh.Connection._create_control_path(host, port, user, connection, (parent_process() or current_process()).pid)

    def _examine_output(self, *arguments: object) -> tuple[bytes, bytes]:
        """Note that a command became root, which the parent forgets before it returns."""
        examined = super()._examine_output(*arguments)
        self.became = self.became or self._flags["become_success"]
        return examined

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command by the first account that comes to it. Raises refusal.Refused, which says why none does."""
        heard = []
        for account in self.accounts():
            self.set_option("remote_user", account)
            try:
                return self.through(cmd, in_data, sudoable)
            except refusal.Unheard as error:
                heard.append(refusal.Heard(account, error.kind, error.said))
                if not error.kind.account:  # another account would be asked in vain
                    break
        self.set_option("remote_user", heard[0].account)
        folder = os.path.dirname(self.get_option("private_key_file") or "")
        raise refusal.Refused(refusal.Seat(*map(self.get_option, ("seat", "host", "instance")), folder), heard)

    def accounts(self) -> Iterator[str]:
        """Yield the account that is to be used, and then the other; after that has been used, it alone."""
        yield from dict.fromkeys([self.get_option("remote_user"), self.get_option("second_user") or self.get_option("remote_user")])

    def through(self, cmd: str, in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes]:
        """Run a command by one account. Raises Unheard where it did not come to run, or did not come back."""
        self.became = False
        try:
            code, stdout, stderr = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        except AnsibleError as error:
            kind = refusal.LOST if self.became else refusal.kind_of(str(error))
            # To the parent, a sudo that asks for a password is an error like any other.
            if not isinstance(error, AnsibleConnectionFailure) and kind is not refusal.SUDO:
                raise
            raise refusal.Unheard(kind, str(error)) from error
        said = f"{stdout.decode(errors='replace')}\n{stderr.decode(errors='replace')}"
        if self.become and self.become.success and self.become.success in cmd and not self.became:
            raise refusal.Unheard(refusal.before_the_command(said), said, code)
        if in_data and (broken := refusal.broken_python(code, said)):
            raise refusal.Unheard(broken, said, code)
        return code, stdout, stderr
