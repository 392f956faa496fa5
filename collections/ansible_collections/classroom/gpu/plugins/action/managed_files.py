"""The controller's part of classroom.gpu.managed_files: an entry's template or file becomes its content."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

SOURCES = {"template": "templates", "src": "files"}
# What only the controller reads of an entry.
OWN = (*SOURCES, "vars")


class ActionModule(ActionBase):
    """Fills in what an entry says instead of its content, and gives the list to the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict | None = None) -> dict:
        """Run the module with every file's text."""
        super().run(tmp, task_vars)
        names = task_vars or {}
        files = self._task.args.get("files")
        wanted = [self.filled(entry, names) for entry in files] if isinstance(files, list) else files
        return self._execute_module(module_args={**self._task.args, "files": wanted}, task_vars=names)

    def filled(self, entry: dict, names: dict) -> dict:
        """Return an entry with its text; one that is not to be there, or that the module has to refuse, stays without."""
        given = [key for key in SOURCES if key in entry]
        if not given:
            return entry
        if len(given) > 1 or "content" in entry:
            raise AnsibleActionFail(f"{entry.get('path')} has more than one of content, template and src: keep one of them.")
        rest = {key: value for key, value in entry.items() if key not in OWN}
        return rest if entry.get("state", "file") != "file" else rest | {"content": self.text(given[0], entry, names)}

    def text(self, source: str, entry: dict, names: dict) -> str:
        """Return a file of the role as it is, or a template of it filled in."""
        path = self._find_needle(SOURCES[source], entry[source])
        text = self._loader.get_text_file_contents(path)
        return self.rendered(path, text, names | (entry.get("vars") or {})) if source == "template" else text

    def rendered(self, path: str, text: str, names: dict) -> str:
        """Fill a template in as ansible.builtin.template does, except for the names that tell when and where that was."""
        folders = [str(Path(path).parent)]
        for folder in names.get("ansible_search_path", []):
            folders += [f"{folder}/templates", folder]
        names = {"ansible_managed": "Ansible managed"} | names
        templar = self._templar.copy_with_new_env(searchpath=folders, available_variables=names)
        return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True}))
