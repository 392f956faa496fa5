#!/usr/bin/env bash
# One would guess: what Ansible builds of a module to send it (a zip of the module and of all it imports) is kept for the next run, as its
# messages speak of a cached module.
# True: the cache lies in the run's own temporary folder, which goes with the run. Each run parses every module that it uses and all of its
# module_utils again, about 0.2 s of CPU a module.
# Why it matters here: some fifteen modules a run were a third of what a run with nothing to do cost the controller. Kept payloads end that
# (callback/payload_cache.py of the collection).
# Source: ansible-core 2.19.14, executor/module_common.py: lookup_path is DEFAULT_LOCAL_TMP/ansiballz_cache; 2.22.0rc1 has it so as well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.19.14
cat >book.yml <<'YML'
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
    - ansible.builtin.ping:
YML
tools/bin/python -c "from importlib.metadata import version; print('ansible-core', version('ansible-core'))"
for run in 1 2; do
  # The debug messages name what is built and what is taken.
  ANSIBLE_DEBUG=true tools/bin/ansible-playbook -i localhost, -c local -e ansible_python_interpreter="$folder/tools/bin/python" \
    book.yml >"run$run" 2>&1
  printf 'run %s: built %s, taken from the cache %s\n' "$run" \
    "$(grep -c 'ANSIBALLZ: Creating module' "run$run" || true)" "$(grep -c 'ANSIBALLZ: using cached module' "run$run" || true)"
done | tee told
# Seen: "built 1, taken from the cache 1" for both runs: the second task of a run takes it, the second run does not.
[ "$(cut -d: -f2 told | sort -u)" = " built 1, taken from the cache 1" ]
echo "As told: the second run built it again."
