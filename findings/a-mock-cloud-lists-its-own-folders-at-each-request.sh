#!/usr/bin/env bash
# One would guess: moto's server knows its services once it has answered a first request, so that a further one costs what its answer does.
# True: to find who answers, it lists the folder that moto is installed in at each request, and asks of each of its 180 or so entries in turn
# whether it is a folder. Whoever asks it beforehand whether it has a service (get_backend_for_host) pays that twice.
# Why it matters here: unit tests ask thousands of times. The rehearsal makes that list once a process (rehearsal/api/moto_patches.py).
# Source: moto 5.2.5, moto_server/werkzeug_app.py (get_backend_for_host) and backends.py (list_of_moto_modules).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check 'moto[ec2,server]==5.2.5'
cat >count.py <<'PY'
import os
from importlib.metadata import version

import moto
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client

HOME = os.path.dirname(moto.__file__)
CREDENTIAL = "AWS4-HMAC-SHA256 Credential=a/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=b"
listed, listdir = [], os.listdir
os.listdir = lambda path=".": (listed.append(str(path)), listdir(path))[1]
client = Client(DomainDispatcherApplication(create_backend_app))
for number in (1, 2, 3):
    listed.clear()
    answer = client.post("/", data={"Action": "DescribeRegions", "Version": "2016-11-15"}, headers={"Authorization": CREDENTIAL})
    print(f"moto {version('moto')}, request {number}: status {answer.status_code}, listings of its own folder: {listed.count(HOME)}")
PY
tools/bin/python count.py | tee told
# Seen: "status 200, listings of its own folder: 1" for the second request and for the third.
[ "$(grep -c 'request [23]: status 200, listings of its own folder: 1$' told)" = 2 ]
echo "As told: nothing is kept from one request to the next."
