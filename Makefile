# make setup · lock · rehearsal · test · test-all · lint · unit · molecule · story · clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/collections
export PYTHONUNBUFFERED := 1
# What a class's settings in the shell must not decide: tests name their cloud and class themselves.
ENTER = eval "$$(python -m rehearsal env)"

.PHONY: setup lock rehearsal test test-all lint unit molecule cloud story clean
.NOTPARALLEL:

setup:  ## Say what this machine can do and install what is missing
	@./setup.sh

rehearsal: setup  ## A class of two, end to end, on a local cloud
	@python -m rehearsal up
	$(ENTER)
	ansible-playbook site.yml
	cat rehearsal/NEXT.txt

lint: setup  ## Style of YAML, Ansible and Python
	@yamllint --strict .
	ruff check --quiet .
	ansible-lint --offline -q
	echo "lint: clean"

unit: setup  ## Pure functions, and the roles' contracts
	@pytest -q

molecule: setup  ## Every role on hosts of the rehearsal's cloud
	@python -m rehearsal up
	$(ENTER)
	molecule test --all

cloud: setup  ## The local cloud against what EC2 promises
	@pytest -q tests/rehearsal/test_hosts.py tests/rehearsal/test_cloud.py $(PYTEST)

story: setup  ## The main job: launch, repair, stop, start, refuse, tear down
	@python -m rehearsal up
	$(ENTER)
	pytest -q tests/rehearsal/test_story.py $(PYTEST)

test: PYTEST = -m "not slow"
test: lint unit cloud molecule story  ## What CI runs
	@python -m rehearsal down

test-all: PYTEST =
test-all: lint unit cloud molecule story  ## … and what is slow: 20 hosts, killed runs
	@python -m rehearsal down

lock: setup  ## Make the pins again
	@compile="uv pip compile --quiet --system-certs --upgrade --generate-hashes --no-header --universal"
	$$compile --python-version 3.11 requirements.in -o requirements.txt

clean:  ## Remove what make setup made; classes/ is never touched
	rm -rf .venv .ansible .cache .pytest_cache .ruff_cache test-results
