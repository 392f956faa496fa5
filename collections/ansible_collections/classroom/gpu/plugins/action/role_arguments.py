"""Holds the settings of all seats against what the roles take, in one task of the controller."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import roster
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import settings as classroom_settings
from ansible_collections.classroom.gpu.plugins.plugin_utils import guard

ARGUMENTS = {"roles": {"type": "list", "elements": "str", "required": True}, "only": {"type": "str", "default": ""}}
SETTING = re.compile(r"\bclassroom_[a-z0-9_]+")
# Found out by the inventory, and by group_vars/all/roles.yml.
FOUND_OUT = {"classroom_region"}


class Role:
    """What a role takes: its options, its defaults, and the names that it makes itself."""

    def __init__(self, name: str, loader: DataLoader) -> None:
        self.name, self.loader = name, loader
        self.options = self.read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        self.defaults, self.own = self.read("defaults/main.yml"), self.read("vars/main.yml")
        self.validator = ArgumentSpecValidator(self.options)

    def read(self, file: str) -> dict:
        """Return a file of the role; an absent or empty one is empty."""
        path = guard.ROOT / "roles" / self.name / file
        return (self.loader.load_from_file(str(path), trusted_as_template=True) if path.is_file() else None) or {}

    def wrong(self, variables: Mapping, templar: Templar) -> Iterator[str]:
        """Yield what the role cannot take of a seat's variables, as core's own validation says it."""
        values = {}
        for name in self.options.keys() & variables.keys():
            try:
                values[name] = templar.template(variables[name])
            except AnsibleError as error:
                yield f"'{name}' has no value: {' '.join(str(error).split()).rstrip('.')}"
        if values.keys() == self.options.keys() & variables.keys():
            for error in self.validator.validate(values, validate_role_argument_spec=True).errors:
                yield f"nothing reads {error}" if isinstance(error, UnsupportedError) else str(error)

    def knows(self, name: str) -> bool:
        """Say whether a variable is one that the role reads; whatever does not bear its name is not its affair."""
        return not name.startswith(f"{self.name}_") or name in self.options or name in self.own


def mended_by(problem: str, variables: Mapping) -> str:
    """Return the settings that what a role complains of comes from, or the role's own variable if it comes from none."""
    named = [name for name in re.findall(r"\w+", problem) if name in variables]
    settings = [setting for name in named for setting in SETTING.findall(str(variables[name]))]
    return " or ".join(dict.fromkeys(settings or named)) or "it"


def sentence(role: Role, problem: str, variables: Mapping, file: str) -> str:
    """Say which role cannot take what, and what to set where."""
    return f"Role {role.name}: {problem.rstrip('.')}. Set {mended_by(problem, variables)} in {file}."


def unknown(variables: Mapping, roles: list[Role], settings: set[str], file: str) -> Iterator[str]:
    """Yield a sentence for each variable that is named like a setting and that nothing reads."""
    options = [name for role in roles for name in role.options]
    for name in variables:
        if not all(role.knows(name) for role in roles) or (name.startswith("classroom_") and name not in settings):
            yield f"Nothing reads {name}.{classroom_settings.guess(name, [*settings, *options])} Mend or remove it in {file}."


class ActionModule(ActionBase):
    """Looks at each wanted seat that runs."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars: dict | None = None) -> dict:
        """Fail with a sentence for each thing that a role could not take."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        roles = [Role(name, self._loader) for name in arguments["roles"]]
        known = set(guard.settings()) | FOUND_OUT | self.handed_over()
        running = task_vars["groups"].get("seats", [])
        seats = [seat for seat in running if seat in (roster.chosen(arguments["only"]) or running)]
        told: dict[str, list[str]] = {}
        for seat in seats:
            for problem in self.problems(roles, task_vars["hostvars"].raw_get(seat), known):
                told.setdefault(problem, []).append(seat)
        lines = [problem if of == seats else f"{', '.join(of)}: {problem}" for problem, of in told.items()]
        told_all = "\n".join(lines) or "Every seat's settings are what the roles take."
        return result | {"changed": False, "failed": bool(lines), "msg": told_all}

    def handed_over(self) -> set[str]:
        """Return the names under which settings reach the roles."""
        return set(self._loader.load_from_file(str(guard.ROOT / "group_vars/all/roles.yml")))

    def problems(self, roles: list[Role], given: Mapping, known: set[str]) -> Iterator[str]:
        """Yield what is wrong with a seat's variables."""
        file = classroom_settings.settings_file({"classroom": guard.classroom()})
        variables: dict = {}
        # As core layers them: a role's defaults yield to what is given, what a role makes itself does not.
        for layer in (*(role.defaults for role in roles), given, *(role.own for role in roles)):
            variables |= layer
        yield from unknown(given, roles, known, file)
        templar = Templar(loader=self._loader, variables=variables)
        for role in roles:
            for problem in role.wrong(variables, templar):
                yield sentence(role, problem, variables, file)
