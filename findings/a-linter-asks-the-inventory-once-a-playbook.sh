#!/usr/bin/env bash
# One would guess: ansible-lint --offline reads files, and asks no inventory.
# True: it runs `ansible-playbook --syntax-check` once for each playbook (and role), and each of those parses the inventory that ansible.cfg
# names: inventory scripts are executed and inventory plugins ask their cloud.
# Why it matters here: with an EC2 inventory every playbook cost a start of Ansible and boto3, four fifths of the linter's time, and each
# would have called AWS where credentials lay in the shell. `make lint` checks the syntax of all in one process, with a file as inventory.
# Source: ansible-lint 26.10.1 runner.py `_get_ansible_syntax_check_matches`; ansible-core cli/playbook.py makes the inventory before it
# looks at --syntax-check.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.19.14 ansible-lint==26.10.1
PATH=$folder/tools/bin:$PATH
printf '[defaults]\ninventory = asked.sh\n' >ansible.cfg
printf '#!/bin/sh\necho asked >>%s/asks\necho "{}"\n' "$folder" >asked.sh
chmod +x asked.sh
mkdir playbooks
for name in one two three; do
  printf -- '---\n- name: Say it\n  hosts: localhost\n  tasks:\n    - name: Say it\n      ansible.builtin.debug:\n        msg: %s\n' "$name" >"playbooks/$name.yml"
done
python -c "from importlib.metadata import version; print('ansible-lint', version('ansible-lint'))"
: >asks
ansible-lint --offline -q playbooks/one.yml playbooks/two.yml playbooks/three.yml
echo "the inventory was asked $(grep -c asked asks) times for 3 playbooks"
# Seen: "the inventory was asked 3 times for 3 playbooks" (or a multiple of it).
[ "$(grep -c asked asks)" -ge 3 ]
echo "As told: linting asked the inventory."
