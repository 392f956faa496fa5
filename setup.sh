#!/bin/sh
# Make this machine ready: say what it can do, install what is missing, create .venv from hashed pins.
# Run by `make setup`; asks for sudo at most once, and only where packages are missing.
# `./setup.sh browser` adds what only the browser test needs: Chromium, and the tool that tells it of a class's CA.
set -eu
cd "$(dirname "$0")"

say() { printf '%s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

case "$(uname -s)" in
  Linux) rehearse=yes
         if grep -qi microsoft /proc/version; then kind="Windows Subsystem for Linux"; else kind="Linux"; fi ;;
  Darwin) rehearse=no; kind="macOS" ;;
  *) die "GPU Classroom runs on Linux, on Windows through WSL2 (https://learn.microsoft.com/windows/wsl/install), and on macOS for real classes." ;;
esac
if [ "$rehearse" = yes ]; then
  say "setup: this machine ($kind) can rehearse a class and run real ones."
else
  say "setup: this machine ($kind) can run real classes, not rehearse them: a rehearsal's hosts need Linux."
fi

# command:package
missing=""
need() { missing="$missing $1"; }
if [ "$rehearse" = yes ]; then
  for pair in podman:podman crun:crun nft:nftables ip:iproute2 newuidmap:uidmap mmdebstrap:mmdebstrap dpkg-deb:dpkg \
      tcc:tcc gpg:gpg gpg-agent:gpg-agent gpgconf:gpgconf; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || need "${pair##*:}"
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || need debian-archive-keyring  # the seats' image is Debian
fi
for pair in git:git ssh:openssh-client curl:curl; do
  command -v "${pair%%:*}" >/dev/null || need "${pair##*:}"
done
if [ "${1:-}" = browser ]; then
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || need chromium
  command -v certutil >/dev/null || need libnss3-tools
fi
python=""
for name in python3 python3.13 python3.12 python3.11; do
  if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$name; break; fi
done
[ -n "$python" ] || die "Python 3.11, 3.12 or 3.13 is needed and was not found. On Debian 12 or Ubuntu 24.04: sudo apt-get install python3 python3-venv"
"$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv

if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || die "these are missing; install them with this system's package manager and run make setup again:$missing"
  as_root=""; [ "$(id -u)" = 0 ] || as_root="sudo"
  say "setup: installing$missing"
  $as_root apt-get update -qq
  # shellcheck disable=SC2086  # a list of package names
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# The pins decide: a changed lock or another Python makes the environment follow.
stamp="$("$python" --version) $(cksum <requirements.txt)"
if [ "$(cat .venv/.pins 2>/dev/null)" != "$stamp" ]; then
  say "setup: installing the pinned Python tools into .venv"
  "$python" -m venv --clear .venv
  # uv is one of the pins; taken from the same hashed list, it installs the rest in seconds.
  awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.txt >.venv/uv.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.txt
  # A company's or university's own certificate authority is in the system's store, which uv reads only when told to.
  .venv/bin/uv pip install --quiet --system-certs --python .venv --require-hashes -r requirements.txt
  printf '%s' "$stamp" >.venv/.pins
fi
say "setup: ready."
