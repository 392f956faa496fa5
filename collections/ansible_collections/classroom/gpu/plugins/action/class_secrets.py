"""Makes what a class keeps secret, in the process of Ansible itself: see the module of this name for its documentation."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.classroom.gpu.plugins.plugin_utils.class_secrets import Secrets

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "classroom": {"type": "str", "required": True},
    "ca_validity": {"type": "str", "default": "+400d"},
    "seats_exist": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """No secret becomes an argument or a result: a result tells the files alone."""

    def run(self, tmp=None, task_vars: dict | None = None) -> dict:
        """Settle the folder, and say what was done."""
        super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ARGUMENTS)
        folder = Path(given["path"]).absolute()
        try:
            done = Secrets(folder, given["classroom"], given["ca_validity"], given["seats_exist"]).settle(self._task.check_mode)
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        except OSError as error:
            return {"failed": True, "msg": f"{error.filename or folder} cannot be written: {error.strerror}."}
        return {"changed": bool(done), "done": done, "diff": {"prepared": "".join(f"{line}\n" for line in done)}}
