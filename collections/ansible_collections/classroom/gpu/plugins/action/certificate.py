"""Keeps a seat's certificate: the seat looks after key and file, this decides and signs. Documented by the module of this name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.classroom.gpu.plugins.plugin_utils import authority, class_folder

ON_THE_SEAT = {
    "path": {"type": "path", "required": True},
    "key": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "obsolete": {"type": "list", "elements": "path", "default": []},
}
HERE = {
    "seat": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "days": {"type": "int", "default": 365},
    "class_dir": {"type": "path", "required": True},
    "copy": {"type": "path", "required": True},
}


class Signer:
    """What the controller does for one seat: it judges certificates, and signs where none is good."""

    def __init__(self, given: dict, request: str) -> None:
        self.folder, self.copy, self.days = Path(given["class_dir"]), Path(given["copy"]), given["days"]
        self.form = authority.of_seat(given["seat"], given["addresses"])
        self.request = authority.request_from(request)
        self.ca_text = self.read("ca.crt")
        self.ca = authority.certificate_from(self.ca_text)
        if self.ca is None:
            raise self.useless("ca.crt", "it holds no certificate")

    def read(self, name: str) -> bytes:
        """Return what a file of the class holds, which has to be there."""
        content = class_folder.content(self.folder / name)
        if content is None:
            raise self.useless(name, "it is missing")
        return content

    def useless(self, name: str, why: str) -> ValueError:
        """Return the error of a CA that cannot be used."""
        return ValueError(f"{self.folder / name} cannot be used: {why}. Let 'ansible-playbook site.yml' look after the class's folder.")

    def key(self) -> authority.ec.EllipticCurvePrivateKey:
        """Return the key of the CA."""
        content = self.read("ca.key")
        try:
            key = authority.key_from(content)
        except ValueError as error:
            raise self.useless("ca.key", str(error)) from error
        if not authority.same_key(self.ca, key):
            raise self.useless("ca.key", "it is not the key of ca.crt")
        return key

    def settle(self, installed: str, check: bool) -> tuple[str, list[str]]:
        """Return what the seat's certificate file has to hold, and what was, or would be, done here."""
        chain, done = self.choose(installed, check=True)
        if check or not done:
            return chain, done
        class_folder.make(self.copy.parent)
        with class_folder.locked(self.folder):  # another run may have signed one meanwhile
            return self.choose(installed, check=False)

    def fault(self, content: bytes | None) -> str:
        """Return why a certificate is not good for this seat, or nothing."""
        certificate = content and authority.certificate_from(content)
        return authority.seat_fault(certificate or None, self.ca, self.request, self.form, datetime.now(UTC))

    def choose(self, installed: str, check: bool) -> tuple[str, list[str]]:
        """Take the certificate that is kept here, else the one on the seat, else a new one; keep it here."""
        kept, done = class_folder.content(self.copy), []
        candidates = [content for content in (kept, installed.encode()) if not self.fault(content)]
        if not candidates:
            done.append(f"signed a certificate, as {self.fault(kept)}")
            candidates.append(authority.pem(authority.sign(self.ca, self.key(), self.request, self.form, self.days)))
        own = authority.pem(authority.certificate_from(candidates[0]))
        if kept != own or not class_folder.has_rights(self.copy, 0o644):
            done.append(f"wrote {self.copy}")
            if not check:
                class_folder.replace(self.copy, own, 0o644)
        return (own + self.ca_text).decode(), done


class ActionModule(ActionBase):
    """One look at the seat, and a second call only where its certificate changes."""

    def run(self, tmp=None, task_vars: dict | None = None) -> dict:
        """Ask the seat, decide, and install what it is to have. The private key stays where it is."""
        super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ON_THE_SEAT | HERE)
        found = self._on_the_seat(given, task_vars)
        if found.get("failed") or not found.get("request"):
            return found
        try:
            chain, done = Signer(given, found.pop("request")).settle(found["chain"], self._task.check_mode)
        except ValueError as error:
            return found | {"failed": True, "msg": str(error)}
        except OSError as error:
            return found | {"failed": True, "msg": f"{error.filename} cannot be written on the controller: {error.strerror}."}
        installed = {"done": []} if chain == found.pop("chain") else self._on_the_seat(given, task_vars, chain=chain)
        return self._summary(found, done, installed)

    def _on_the_seat(self, given: dict, task_vars: dict | None, **more: str) -> dict:
        """Run the seat's half."""
        arguments = {name: given[name] for name in ON_THE_SEAT} | more
        return self._execute_module(module_name="classroom.gpu.seat_certificate", module_args=arguments, task_vars=task_vars)

    @staticmethod
    def _summary(found: dict, done: list[str], installed: dict) -> dict:
        """Put the parts together; what the first call did counts where the second one failed, too."""
        done = [*found["done"], *done, *installed.get("done", [])]
        failure = {name: installed[name] for name in ("failed", "msg", "module_stdout", "module_stderr") if name in installed}
        return found | failure | {"changed": bool(done), "done": done, "diff": {"prepared": "".join(f"{line}\n" for line in done)}}
