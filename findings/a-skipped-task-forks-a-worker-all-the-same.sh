#!/usr/bin/env bash
# One would guess: a task whose `when` is false costs nothing, as the controller sees at once that it is not for this host.
# True: `when` is looked at in the worker. A skipped task forks a process of its own for each host, as one that runs does.
# Why it matters here: a role that asks on every seat for what is rarely there pays for it in each run, some 30 ms of CPU a seat and task.
# Rare work stands behind one condition, or the module decides.
# Source: ansible-core 2.19.14, executor/task_executor.py (`_execute` evaluates the conditional) and executor/process/worker.py, whose
# process runs it; strategy/__init__.py `_queue_task` starts that process before anything is known of the condition.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.19.14
mkdir callbacks
cat >callbacks/forks.py <<'PY'
"""Counts the workers that a run starts."""
from ansible.executor.process.worker import WorkerProcess
from ansible.plugins.callback import CallbackBase

started = []
start = WorkerProcess.start


def counted(self):
    started.append(self)
    return start(self)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_NAME = "forks"

    def __init__(self):
        super().__init__()
        WorkerProcess.start = counted

    def v2_playbook_on_stats(self, stats):
        self._display.display(f"workers started: {len(started)}")
PY
python3 - <<'PY'
import json
task = {"ansible.builtin.ping": {}, "when": False}
print(json.dumps([{"hosts": "one,two", "gather_facts": False, "tasks": [task] * 10}]), file=open("book.yml", "w"))
PY
tools/bin/python -c "from importlib.metadata import version; print('ansible-core', version('ansible-core'))"
ANSIBLE_CALLBACK_PLUGINS=callbacks tools/bin/ansible-playbook -i one,two, -c local book.yml >out
grep -E 'skipped=10' out
grep 'workers started' out
# Seen: ok=0 ... skipped=10 for both hosts, and "workers started: 20".
[ "$(grep -c 'ok=0 .*skipped=10' out)" = 2 ]
grep -qx 'workers started: 20' out
echo "As told: 20 skipped tasks forked 20 workers."
