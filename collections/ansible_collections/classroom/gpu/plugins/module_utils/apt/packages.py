"""What a set of APT packages should be, what dpkg says it is, and what APT's complaints mean. Nothing here touches the machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import NamedTuple

STATUS = ("db:Status-Want", "db:Status-Status", "db:Status-Eflag")
FIELDS = ("Package", "Version", "Architecture", *STATUS, "Pre-Depends", "Depends", "Provides")
QUERY = "\\t".join(f"${{{field}}}" for field in FIELDS) + "\\n"
# Where dpkg stopped in the middle; `dpkg --configure -a` goes on from there. dpkg(1), "Package states".
HALFWAY = ("unpacked", "half-configured", "triggers-awaited", "triggers-pending")
SEAL = "# GPU Classroom wrote this; the next run repairs it. Digest: "
ASIDE = ".by-classroom.disabled"  # APT passes over *.disabled without a word
HIGHEST = 1001  # above 1000 a pin also goes down to an older version. apt_preferences(5)


class Package(NamedTuple):
    """A package that dpkg knows."""

    name: str
    version: str
    held: bool
    status: str
    sound: bool  # dpkg does not ask for it to be unpacked again
    needs: tuple[tuple[str, ...], ...]  # every group of alternatives, one of which must be there
    exact: tuple[tuple[str, str], ...]  # names that it needs in one version, as the parts of a set do
    provides: tuple[str, ...]


class Wanted(NamedTuple):
    """The set that is asked for; globs as in the module's documentation."""

    packages: list[str]
    version: str
    pins: list[str]
    purge: list[str]
    unpinned: list[str]

    def fits(self, package: Package) -> bool:
        return not self.version or fnmatchcase(package.version, self.version)

    def covers(self, name: str) -> bool:
        """Tell whether a package belongs to the set, if it is needed."""
        return name not in self.unpinned and (name in self.packages or matches(name, self.pins))


class Work(NamedTuple):
    """What keeps a machine from being as wanted: names of packages, sorted."""

    halfway: list[str]
    missing: list[str]
    misplaced: list[str]
    stray: list[str]
    unheld: list[str]

    @property
    def transaction(self) -> bool:
        """Does it take APT to mend it?"""
        return bool(self.missing or self.misplaced or self.stray)


class Steps(NamedTuple):
    """What APT says it would do."""

    install: dict[str, str]  # name: version
    remove: set[str]


def matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def alternatives(depends: str) -> tuple[tuple[str, ...], ...]:
    """Return the names in a field such as `a (>= 1) | b, c:any`: a group for each comma."""
    groups = (group.split("|") for group in depends.split(",") if group.strip())
    return tuple(tuple(re.split(r"[\s:(\[]", name.strip(), maxsplit=1)[0] for name in group) for group in groups)


def exactly(depends: str) -> tuple[tuple[str, str], ...]:
    """Return the names with versions in a field such as `a (= 1), b (>= 2) | c (= 3)`: a and c."""
    return tuple(re.findall(r"([^\s,|:]+)(?::\w+)? \(= ([^)]+)\)", depends))


def installed(listing: str) -> dict[str, Package]:
    """Return the packages of dpkg-query's output in the format QUERY, of dpkg's own architecture, that are not merely remembered."""
    rows = [line.split("\t") for line in listing.splitlines() if line.count("\t") == len(FIELDS) - 1]
    native = {row[2] for row in rows if row[0] == "dpkg"} | {"all"}
    found = {}
    for name, version, architecture, want, status, flag, *depends, provides in rows:
        if architecture in native and status not in ("not-installed", "config-files"):
            needs = tuple(group for field in depends for group in alternatives(field))
            provided = tuple(group[0] for group in alternatives(provides))
            found[name] = Package(name, version, want == "hold", status, flag == "ok", needs, exactly(", ".join(depends)), provided)
    return found


def halves(found: dict[str, Package]) -> list[str]:
    """Return the packages in which dpkg was stopped, whosever they are."""
    return [name for name, package in found.items() if package.status in HALFWAY]


def closure(found: dict[str, Package], roots: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the installed packages that the installed ones of `roots` need, themselves included, and what of theirs is not there."""
    providers: dict[str, set[str]] = {}
    for package in found.values():
        for name in (package.name, *package.provides):
            providers.setdefault(name, set()).add(package.name)
    reached, unmet, todo = set(), set(), [name for name in roots if name in found]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        for group in found[name].needs:
            there = set().union(*(providers.get(other, set()) for other in group))
            todo += there
            unmet |= set() if there else {group[0]}
    return reached, unmet


def members(found: dict[str, Package], wanted: Wanted) -> list[str]:
    """Return the installed packages of the set: those asked for, what they need, and other parts of the same version."""
    needed, _ = closure(found, wanted.packages)
    return sorted(name for name, package in found.items() if wanted.covers(name) and (name in needed or wanted.fits(package)))


def mismatched(found: dict[str, Package], parts: list[str]) -> set[str]:
    """Return the parts of a set that another part needs in another version than they have."""
    pairs = (pair for name in parts for pair in found[name].exact)
    # Debian's firmware provides itself without its revision, and the driver asks for that: deb-control(5), "Provides".
    have = {name: (found[name].version, found[name].version.rpartition("-")[0]) for name in parts}
    return {name for name, version in pairs if name in parts and version not in have[name]}


def work(found: dict[str, Package], wanted: Wanted) -> Work:
    """Compare what dpkg has with what is wanted."""
    requested = wanted.packages + wanted.unpinned
    needed, unmet = closure(found, requested)
    parts = members(found, wanted)
    mine = set(requested).union(parts)
    halfway = [name for name in halves(found) if name in mine]
    broken = [name for name in mine if name not in found or not found[name].sound or found[name].status == "half-installed"]
    stray = [name for name in found if matches(name, wanted.purge) and name not in needed and name not in requested]
    return Work(
        halfway=sorted(halfway),
        missing=sorted({*broken, *unmet}),
        misplaced=sorted({name for name in parts if not wanted.fits(found[name])} | mismatched(found, parts)),
        stray=sorted(stray),
        unheld=[name for name in parts if not found[name].held and name not in stray],
    )


def extras(found: dict[str, Package], wanted: Wanted, stray: Iterable[str]) -> list[str]:
    """Return installed packages of the pins at another version, not asked for: they have to go along, where the source has them."""
    others = (name for name, package in found.items() if wanted.covers(name) and not wanted.fits(package))
    return sorted(name for name in others if name not in {*stray, *wanted.packages})


def present_version(found: dict[str, Package], wanted: Wanted) -> str:
    """Return the version that most of the set's installed parts have, so that a repair need not upgrade them; nothing where none fits."""
    parts = [found[name] for name in members(found, wanted)]
    version, count = Counter(part.version for part in parts).most_common(1)[0] if parts else ("", 0)
    return version if wanted.version and count * 2 > len(parts) and fnmatchcase(version, wanted.version) else ""


def sealed(body: str) -> str:
    """Return a file's text under a line that tells whether somebody altered it since."""
    return f"{SEAL}{sha256(body.encode()).hexdigest()}\n{body}"


def intact(text: str) -> bool:
    """Tell whether a text is as `sealed` made it, whatever was wanted then."""
    head, _, body = text.partition("\n")
    return head.startswith(SEAL) and text == sealed(body)


def pin_text(wanted: Wanted, version: str | None = None) -> str:
    """Return the preferences file of a set; without a version it pins nothing and is the mark that the set was installed."""
    version = wanted.version if version is None else version
    body = f"# Packages: {' '.join(wanted.packages + wanted.unpinned)}\n# Version: {version or 'any'}\n"
    if version:
        body += f"\nPackage: {' '.join(dict.fromkeys([*wanted.pins, *wanted.packages]))}\nPin: version {version}\nPin-Priority: {HIGHEST}\n"
    return sealed(body)


def source_text(source: dict, key: str) -> str:
    """Return the deb822 text of a source that is signed by the key in the file `key`."""
    lines = ["Types: deb", f"URIs: {source['uri']}", f"Suites: {source['suite']}"]
    lines += [f"Components: {' '.join(source['components'])}"] if source["components"] else []
    return sealed("\n".join([*lines, f"Signed-By: {key}", ""]))


def fingerprints(colons: str) -> list[str]:
    """Return the fingerprints of the primary keys in the output of `gpg --show-keys --with-colons`."""
    kind, found = "", []
    for fields in (line.split(":") for line in colons.splitlines()):
        if fields[0] == "fpr" and kind == "pub":
            found.append(fields[9])
        kind = fields[0] if fields[0] in ("pub", "sub") else "" if fields[0] == "fpr" else kind
    return found


def same_place(one: str, other: str) -> bool:
    """Tell whether two addresses are one source to APT, which does not mind the slash at the end."""
    return one.rstrip("/") == other.rstrip("/")


def names(entry: str, uri: str) -> bool:
    """Tell whether a line or stanza of a sources list is an active entry for an address."""
    text = "\n".join(line for line in entry.splitlines() if not line.lstrip().startswith("#"))
    return any(same_place(word, uri) for word in text.split())


def without(text: str, uri: str, deb822: bool) -> str | None:
    """Return a sources list less its entries for an address; None where it has none."""
    entries = re.split(r"(\n[ \t]*\n)", text) if deb822 else text.splitlines(keepends=True)
    kept = [entry for entry in entries if not names(entry, uri)]
    return None if len(kept) == len(entries) else "".join(kept).strip("\n") + "\n"


def active(text: str) -> bool:
    """Tell whether a sources list says anything."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def steps(simulation: str) -> Steps:
    """Return what `apt-get --simulate` would install and remove."""
    install = dict(re.findall(r"^Inst (\S+) (?:\[\S*\] )?\((\S+)", simulation, re.MULTILINE))
    return Steps(install, set(re.findall(r"^(?:Remv|Purg) (\S+)", simulation, re.MULTILINE)))


def objection(plan: Steps, found: dict[str, Package], wanted: Wanted, going: Iterable[str]) -> str:
    """Say why APT's plan must not be carried out: it would touch what is not the set's, or miss the version; nothing where it may."""
    foreign = sorted(name for name in plan.remove if not wanted.covers(name) and not matches(name, wanted.purge) and name not in going)
    if foreign:
        return f"APT would remove {', '.join(foreign)}, which is not part of it. Remove that first, or do without"
    held = sorted(name for name in plan.install if name in found and found[name].held and not wanted.covers(name))
    if held:
        return f"APT would change {', '.join(held)}, which somebody holds. Type: apt-mark unhold {' '.join(held)}"
    other = sorted(
        f"{name} {version}"
        for name, version in plan.install.items()
        if name in wanted.packages and wanted.version and not fnmatchcase(version, wanted.version)
    )
    return f"APT would take {', '.join(other)}, not version {wanted.version}. Look at `apt-cache policy`" if other else ""


def natural(text: str) -> list:
    """Return a key that sorts 9.2 before 9.10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def madison(output: str) -> dict[str, list[str]]:
    """Return the versions of each package in the output of `apt-cache madison`, oldest first."""
    found: dict[str, set[str]] = {}
    for name, version, _ in (line.split("|", 2) for line in output.splitlines() if line.count("|") >= 2):
        found.setdefault(name.strip(), set()).add(version.strip())
    return {name: sorted(versions, key=natural) for name, versions in found.items()}


def chosen(all_names: Iterable[str], pattern: str) -> list[str]:
    """Return what the first group of `pattern` is in the names that match it as a whole, in natural order."""
    found = {match[1] for match in (re.fullmatch(pattern, name) for name in all_names) if match}
    return sorted(found, key=natural)


def chosen_version(versions: list[str], glob: str) -> str:
    """Return the newest of some versions that a glob allows; nothing where none does."""
    return next((version for version in reversed(versions) if fnmatchcase(version, glob or "*")), "")


# APT's complaints: a pattern, and the sentence that it means; {0} is the pattern's first group, {where} and {key} the source's.
# The texts are those of apt 2.4 to 2.8, which Ubuntu 22.04, Debian 12 and Ubuntu 24.04 have.
COMPLAINTS = [
    (
        r"Could not get lock .*?(?:held by process (\d+(?: \([^)]*\))?))",
        "Process {0} kept the package lock for {patience} s: let it finish or end it, then run this again",
    ),
    (r"Could not get lock (\S+?)\.?\s", "Another program kept the lock {0} for {patience} s: let it finish, then run this again"),
    (r"(?:enough free space in|No space left on device)[ -]*(\S*)", "The disk is full ({0}): make room, then run this again"),
    (
        r"(NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|not signed by|signatures? (?:were|was) invalid|couldn't be verified)",
        "The index of {where} is not signed by the key {key}: it was altered on the way, or the address is not its publisher's. "
        "Check the repository's address and fingerprint",
    ),
    (
        r"Release file for (\S+) is (?:expired|not valid)",
        "The index {0} is out of date or from the future: check this machine's clock, then the mirror",
    ),
    (
        r"Failed to fetch (\S+\.deb)\s+(?:.*?)(?:Hash Sum mismatch|Hashes of expected file|unexpected size)",
        "The package {0} is not what the signed index says: it was damaged or altered. Try another mirror",
    ),
    (
        r"(Hash Sum mismatch|Hashes of expected file|File has unexpected size)",
        "The index of {where} is not what its signature covers: it was damaged or altered. Try another mirror",
    ),
    (
        r"((?:Could not|Unable to) connect to \S+|(?:Could not resolve|failure resolving) '\S+'|Connection (?:timed out|failed))",
        "{where} cannot be reached ({0}): check the address and this machine's network, then run this again",
    ),
    (
        r"(does not have a Release file|404 +Not Found|no longer has a Release file)",
        "There is no such repository or file at {where} ({0}): check its address",
    ),
    (r"Conflicting values set for option (\S+ regarding source \S+)", "Two sources lists disagree: {0}. Remove one of them"),
    (r"E: (Malformed .*|Type .* is not known.*)", "A sources list cannot be read: {0}. Correct it"),
]


def sentence(complaint: str, where: str, key: str, patience: int) -> str:
    """Return what an error output of APT means, as one sentence without its full stop."""
    text = re.sub(r"\s*\n\s+", " ", complaint)
    for pattern, meaning in COMPLAINTS:
        found = re.search(pattern, text)
        if found:
            return meaning.format(found[1].rstrip(".:"), where=where, key=key, patience=patience).replace(" ()", "")
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    errors = [line[3:] for line in lines if line.startswith("E: ")] or lines[-1:] or ["it gave no reason"]
    return f"APT cannot do it for {where}: {' '.join(errors)}"
