# make setup · lock · rehearsal · test · test-all · lint · unit · modules · molecule · story · browser · bench · clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/collections
export PYTHONUNBUFFERED := 1
# Python keeps what it compiles, whatever the shell says: some hundred processes would each compile Ansible anew.
export PYTHONDONTWRITEBYTECODE :=
# What a class's settings in the shell must not decide: tests name their cloud and class themselves.
ENTER = eval "$$(python -m rehearsal env)"

# Scenarios that test-all adds: real drivers, compilers and frameworks, which take minutes and gigabytes, one fault after the other, and a
# role's other sources and machines.
SKIP = nvidia_driver-debian nvidia_driver-branches nvidia_driver-gpus cuda-nvcc cuda-sources jupyter-2018 jupyter-students jupyter-asked conda_env-faults

# Scenarios that take longest, and so begin first: one that begins last would keep a core waiting.
LONG = jupyter-2018 nvidia_driver-debian jupyter conda_env nvidia_driver course

# Tests that test-all adds: fifty environments, 500 seats, whole playbooks under every fault, what another test says, too.
PYTEST = -m "not slow"

# Two a core: each waits for daemons at times.
WORKERS = $$(python -c 'import os; print(os.cpu_count() * 2)')

.PHONY: setup lock rehearsal test test-all lint unit modules molecule cloud story browser bench clean

# Lint and unit run side by side, for each leaves a core idle for a while; all else has the machine to itself.
ifneq ($(filter-out lint unit modules,$(or $(MAKECMDGOALS),setup)),)
.NOTPARALLEL:
else
MAKEFLAGS += --jobs=2 --output-sync=target
endif

# Chromium is needed where a student is played, and nowhere else.
test test-all story browser: PART = browser

setup:  ## Say what this machine can do and install what is missing
	@./setup.sh $(PART)

rehearsal: setup  ## A class of two, end to end, on a local cloud
	@python -m rehearsal up
	$(ENTER)
	ansible-playbook site.yml
	cat rehearsal/NEXT.txt

lint: setup  ## Style of YAML, Ansible and Python: of what changed since main; of everything in CI and with ALL=1
	@python tests/lint.py $(if $(ALL),--all)

unit: setup  ## Pure functions, and what files of the project promise each other: seconds, and nothing else is needed
	@pytest -q -n $(WORKERS) tests/unit tests/contract $(PYTEST)

modules: setup  ## Modules and whole playbooks against EC2's API in a process, and seat modules on folders
	@pytest -q -n $(WORKERS) --dist worksteal tests/modules tests/api tests/playbooks $(PYTEST)

molecule: setup  ## Every role on hosts of the rehearsal's cloud, two scenarios at a time: each is a class of its own
	@mkdir -p test-results
	python -m rehearsal up
	$(ENTER)
	(cd molecule && printf '%s\n' $(LONG) */) | sed 's,/$$,,' | awk '!seen[$$0]++' |
	  grep --invert-match --line-regexp --fixed-strings "$$(printf '%s\n' shared $(SKIP))" | xargs -P2 -I@ sh -c '
	  if molecule test -s @ >test-results/molecule-@.log 2>&1; then echo "molecule: @ passed"
	  else grep --after-context=25 fatal: test-results/molecule-@.log | tail -n 80; tail -n 15 test-results/molecule-@.log; echo "molecule: @ FAILED"; exit 1; fi'

cloud: setup  ## The local cloud against what EC2 promises; ends a rehearsal that runs
	@python -m rehearsal down
	python -m rehearsal.hosts.privilege "$$(command -v python)" -m pytest -q tests/rehearsal/test_hosts.py tests/rehearsal/test_way_in.py
	pytest -q tests/rehearsal/test_lifecycle.py tests/rehearsal/test_cloud.py $(PYTEST)

story: setup  ## The main job: launch, repair, stop, start, refuse, tear down
	@python -m rehearsal up
	$(ENTER)
	pytest -q tests/rehearsal/test_story.py tests/rehearsal/test_broken_seats.py $(PYTEST)

browser: setup  ## A student in a real browser, on the class that `make rehearsal` leaves; `make story` does it by itself
	@$(ENTER)
	pytest -q --tb=short tests/browser $(PYTEST)  # a longer trace shows the password

BASE =
RUNS = 3
ROWS =
bench: setup  ## Today's build beside BASE's (the last release), RUNS times in turn, as ratios into docs/figures.md; ROWS="noop1 repair"
	@python -m tests.bench --base "$(BASE)" --runs "$(RUNS)" --rows $(ROWS)

test-all: PYTEST =
test-all: SKIP =
test-all: ALL = 1
test-all: ON = || failed=1
# test is what CI runs, and ends at what fails; test-all adds what is slow (20 hosts, killed runs, real drivers and compilers) and goes on to
# the last part: a night has to tell all of it. CONTRIBUTING.md says how to run a part alone.
test test-all: setup
	@failed=0
	$(MAKE) --no-print-directory lint unit modules 'PYTEST=$(PYTEST)' 'ALL=$(ALL)' $(ON)
	for part in cloud molecule story; do $(MAKE) --no-print-directory $$part 'SKIP=$(SKIP)' 'PYTEST=$(PYTEST)' $(ON); done
	python -m rehearsal down
	exit $$failed

LOCK = uv pip compile --quiet --system-certs --upgrade --generate-hashes --custom-compile-command "make lock"
PIP_SECTION = import sys, yaml; print(*next(d["pip"] for d in yaml.safe_load(open(sys.argv[1]))["dependencies"] if isinstance(d, dict)), sep="\n")

lock: setup  ## Make the pins again: the controller's, the rehearsal's channel, the seats' tools, every stack
	@$(LOCK) --universal --python-version 3.11 requirements.in -o requirements.txt
	$(LOCK) --universal --python-version 3.11 rehearsal/mirrors/channel-requirements.in -o rehearsal/mirrors/channel-requirements.txt
	for role in conda_env jupyter; do
	  $(LOCK) --universal --python-version 3.10 roles/$$role/files/requirements.in -o roles/$$role/files/requirements.txt
	done
	$(LOCK) --no-deps --python-platform linux --python-version 3.11 molecule/cuda-nvcc/requirements.in -o molecule/cuda-nvcc/requirements.txt
	for stack in $$(dirname stacks/*/requirements.txt); do  # a stack without a lock is a record of what no longer can be had
	  version=$$(sed -n 's/^python: "\(.*\)"/\1/p' $$stack/stack.yml)
	  python -c '$(PIP_SECTION)' $$stack/environment.yml |
	    $(LOCK) --no-annotate --python-platform linux --python-version $$version - -o $$stack/requirements.txt
	done

clean:  ## Remove what make setup made, and the payloads that runs keep; classes/ is never touched
	rm -rf .venv .ansible .cache .pytest_cache .ruff_cache test-results "$${XDG_CACHE_HOME:-$$HOME/.cache}/gpu-classroom/payloads"
