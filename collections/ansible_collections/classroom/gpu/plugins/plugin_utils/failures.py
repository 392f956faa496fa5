"""What a task's failure says to somebody who is to act on it."""

from __future__ import annotations

import re

# Ansible's own words around a cause, in the order in which it puts them on.
AROUND = re.compile(r"^(?:Task failed: |Module failed: |Action failed: |Error executing command\.?: )+")
# Messages that tell that something failed and not what: the cause is in what the program wrote.
BARE = re.compile(
    r"(?:MODULE FAILURE|Module failed|Module result deserialization failed|non-zero return code|One or more items failed"
    r"|Error executing command|The command was not successful|Failed to set permissions)\b"
)
COMPLAINS = re.compile(r"\berror\b|\bfatal\b|not found|denied|No such|[Cc]annot|[Ff]ailed", re.IGNORECASE)
WROTE = ("module_stderr", "stderr", "module_stdout", "stdout", "exception")
ERRNO = re.compile(r"^(?:\w+(?:\.\w+)*: )?\[Errno \d+\] ")
# What the system refused a program before any of ours could look why: a full disk lets not even a module begin.
SYSTEM = {
    "No space left on device": "The disk of {seat} is full: `sudo du -xm / | sort -n | tail` there shows what fills it. Delete what nobody"
    " needs, or give it more with playbooks/grow.yml.",
    "Read-only file system": "The disk of {seat} is read-only, as one with errors is until the machine starts again: playbooks/stop.yml and"
    " then site.yml, each with -e seats={seat}, start it again.",
}


def told(result: dict, task: str, seat: str) -> str:
    """Return the sentence of a failure, without Ansible's words around it; the task is named only where nothing else tells."""
    failed = next((one for one in result.get("results", ()) if one.get("failed")), result)
    words = AROUND.sub("", str(failed.get("msg", ""))).strip()
    bare = not words or BARE.match(words)
    words = (last_words(failed) or words) if bare else words
    for met, sentence in SYSTEM.items():
        if met in words and "`" not in words:
            return sentence.format(seat=seat)
    words = ERRNO.sub("", words)
    return f"{task}: {words or 'it failed without a word'}" if bare or not words else words


def last_words(result: dict) -> str:
    """Return the line of what a failed program wrote that tells its error: of a traceback the last, else the first that sounds like one."""
    texts = (str(result.get(name) or "").strip() for name in WROTE)
    lines = next((text.splitlines() for text in texts if text and text != "(traceback unavailable)"), [""])
    first = "" if "Traceback (most recent call last)" in lines[0] else next(filter(COMPLAINS.search, lines), "")
    return (first or lines[-1]).strip()


def is_unforeseen(result: dict) -> bool:
    """Tell whether a module broke, so that whoever mends it needs all that Ansible knows."""
    words = str(result.get("msg", ""))
    return bool(AROUND.match(words)) or not words or bool(BARE.match(words))
