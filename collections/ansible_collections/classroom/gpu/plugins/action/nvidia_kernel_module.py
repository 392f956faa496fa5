"""The controller's part: the reboot, where nothing else brings the GPU's driver up, and a look after it."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module of the same name, reboots the machine where that says so, and lets it look whether that helped."""

    def run(self, tmp: str | None = None, task_vars: dict | None = None) -> dict:
        """Return what the module says, at the end."""
        super().run(tmp, task_vars)
        found = self._execute_module(task_vars=task_vars)
        if found.get("failed") or not found["reboot_now"]:
            return found
        if self._task.check_mode:
            return found | {"changed": True}
        reboot = self.reboot(task_vars)
        if reboot.get("failed"):
            return found | reboot
        after = self._execute_module(module_args=self._task.args | {"rebooted": True}, task_vars=task_vars)
        both = {key: found[key] + after.get(key, []) for key in ("done", "mended")}
        return after | both | {"changed": True}

    def reboot(self, names: dict | None) -> dict:
        """Reboot as ansible.builtin.reboot does."""
        task = self._task.copy()
        task.action, task.args = "ansible.builtin.reboot", {"reboot_timeout": self._task.args.get("boot_patience", 600)}
        plugin = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.reboot",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        return plugin.run(task_vars=names)
