"""A seat's shell, in which modules and what they start hear nothing of what a student has set for everybody."""

from __future__ import annotations

from ansible.plugins.shell import sh
from ansible.plugins.shell.sh import DOCUMENTATION

__all__ = ["DOCUMENTATION", "ShellModule"]  # its options are the parent's, and Ansible reads them from this name

# What a line in /etc/environment, which PAM gives to SSH and to sudo alike, can make of Python, of Perl and of every program.
# https://docs.python.org/3/using/cmdline.html#environment-variables
PYTHON = (
    *("HOME", "PATH", "PLATLIBDIR", "SAFEPATH", "STARTUP", "INSPECT", "OPTIMIZE", "DEBUG", "VERBOSE", "WARNINGS", "BREAKPOINT", "UTF8"),
    *("CASEOK", "EXECUTABLE", "USERBASE", "IOENCODING", "DEVMODE", "MALLOC", "MALLOCSTATS", "TRACEMALLOC", "PROFILEIMPORTTIME"),
    *("COERCECLOCALE", "PYCACHEPREFIX", "WARNDEFAULTENCODING"),
)
OTHERS = (
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "CDPATH", "TMPDIR"),
    *("PERL5LIB", "PERLLIB", "PERL5OPT", "GIT_DIR", "GIT_WORK_TREE", "APT_CONFIG"),
)
UNSET = " ".join([*(f"PYTHON{name}" for name in PYTHON), *OTHERS])
# Python looks for packages below ~/.local, too: also for root, where `sudo pip install --user` has put them.
SET = "PYTHONNOUSERSITE=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ShellModule(sh.ShellModule):
    """As /bin/sh, with an environment of our own for each module. Ansible takes no arguments beside the path of an interpreter."""

    def build_module_command(self, env_string: str, shebang: str, cmd: str, arg_path: str | None = None) -> str:
        """Return the command that runs a module; what its task sets in `environment` holds."""
        return f"unset {UNSET}; export {SET}; {super().build_module_command(env_string, shebang, cmd, arg_path)}"
