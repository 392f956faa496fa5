#!/usr/bin/env bash
# One would guess: the REST API of Jupyter tells a kernel that ended from one that starts; its execution_state knows "dead".
# True: asking for the kernel of a program that ends at once is answered with 201. It is "starting" while the server starts it five times
# more, some 15 s; then its address is 404, and the list of kernels is empty. "dead" and "restarting" are never said there. That its
# program ended is said to websockets alone, and one that is opened meanwhile is kept waiting for kernel_info_timeout.
# Why it matters here: a startup file of IPython's that ends the kernel looked like a slow start. The proof of a seat goes by neither the
# 201 nor the state: it asks for what a cell prints, in a time of its own.
# Source: jupyter_server 2.21.1, services/kernels/kernelmanager.py: execution_state follows the kernel's own messages, and a kernel that
# sends none stays at "starting"; jupyter_client 8.10.0 restarter.py; services/kernels/connection/channels.py `prepare`.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/python -m pip install --quiet --disable-pip-version-check jupyter_server==2.21.1 jupyter_client==8.10.0
mkdir -p kernels/ends
echo '{"argv": ["sh", "-c", "exit 1", "{connection_file}"], "display_name": "Ends", "language": "none"}' >kernels/ends/kernel.json
port=$(python3 -c 'import socket; one = socket.create_server(("127.0.0.1", 0)); print(one.getsockname()[1])')
HOME=$folder JUPYTER_PATH=$folder tools/bin/python -m jupyter_server --allow-root --no-browser --port "$port" \
  --IdentityProvider.token=told >log 2>&1 &
server=$!
cat >ask.py <<'PY'
"""Starts the kernel and prints each answer about it that differs from the last one."""
import json, sys, time, urllib.error, urllib.request

def ask(method, path, data=None):
    data = json.dumps(data).encode() if data else None
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/api/{path}", data, {"Authorization": "token told"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}

def up():
    try:
        return ask("GET", "status")
    except OSError:
        return time.sleep(0.2)

end = time.monotonic() + 50
while not up() and time.monotonic() < end:
    pass
status, session = ask("POST", "sessions", {"name": "one", "path": "one", "type": "console", "kernel": {"name": "ends"}})
print("POST", status, session["kernel"]["execution_state"], flush=True)
last = None
while last != (404, None) and time.monotonic() < end:
    status, kernel = ask("GET", f"kernels/{session['kernel']['id']}")
    if last != (last := (status, kernel.get("execution_state"))):
        print("GET", *last, flush=True)
    time.sleep(0.1)
print("kernels", ask("GET", "kernels")[1])
PY
tools/bin/python -c "from importlib.metadata import version; print('jupyter_server', version('jupyter_server'))"
tools/bin/python ask.py "$port" | tee told
echo "started again $(grep -c 'restarting kernel' log) times"
# Seen: POST 201 starting, GET 200 starting, GET 404 None, kernels [], and "started again 5 times".
[ "$(tr '\n' ',' <told)" = "POST 201 starting,GET 200 starting,GET 404 None,kernels []," ]
grep -q 'restarting kernel' log
echo "As told: it was starting, and then it was not there."
