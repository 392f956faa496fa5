#!/usr/bin/env bash
# One would guess: a task with `become` succeeds only where the command ran as root, as Ansible has the far side print a marker
# (BECOME-SUCCESS-...) before it and waits for that marker.
# True: if the SSH process ends with 0 before the marker came, nobody asks for it. `raw` and `script` are "changed" with rc 0 although
# nothing ran. A module is FAILED ("No start of json char found", rc 0), not UNREACHABLE, so the host is not set aside.
# Why it matters here: a student's .bashrc that prints and exits does just that. Our connection looks whether the marker came, and where
# it did not, the seat refuses: another account is asked, and the cause is named.
# Source: ansible-core 2.19.14, plugins/connection/ssh.py `_bare_run`: the loop ends at the end of the output in whatever state it is
# ('awaiting_escalation'), and only the exit status 255 becomes a connection failure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.19.14
# In the place of ssh, a program that prints hello and ends well, as ssh does where the log-in shell of the far side does that.
# It notes what it was handed.
printf '#!/bin/sh\necho "$*" >>%s/handed\necho hello\nexit "$(cat %s/status)"\n' "$folder" "$folder" >ssh
printf '#!/bin/sh\ntouch %s/ran\n' "$folder" >work.sh
chmod +x ssh work.sh
printf '[ssh_connection]\npipelining = true\nssh_executable = %s/ssh\n' "$folder" >ansible.cfg

try() { # a module and its arguments, as root; its failure is what is looked at
  tools/bin/ansible far -i far, --become --one-line -e ansible_python_interpreter=/usr/bin/python3 -m "$1" -a "$2" 2>/dev/null | tee -a out || true
}

tools/bin/python -c "from importlib.metadata import version; print('ansible-core', version('ansible-core'))"
echo 0 >status
try raw "touch $folder/ran"
try script work.sh
try ping ""
echo 255 >status
try ping ""
# Seen: far | CHANGED | rc=0 | (stdout) hello
#       far | CHANGED => {"changed": true,"rc": 0, ... "stdout": "hello\n", ...}
#       far | FAILED! => { ... "msg": "... No start of json char found","rc": 0}
#       far | UNREACHABLE!: ... with the status 255 alone.
[ ! -e ran ]
grep -q 'BECOME-SUCCESS-' handed
[ "$(grep -c '^far | CHANGED' out)" = 2 ]
[ "$(grep -c '^far | FAILED! .*No start of json char found.*"rc": 0' out)" = 1 ]
[ "$(grep -c '^far | UNREACHABLE!' out)" = 1 ]
echo "As told: nothing ran, no marker came, and two of three tasks are a success."
