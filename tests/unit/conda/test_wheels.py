"""Missing and altered files of an installed wheel are found."""

import os
import time

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.conda import wheels


@pytest.fixture
def dist(tmp_path):
    site = tmp_path / "lib/python3.11/site-packages"
    (site / "demo").mkdir(parents=True)
    (site / "demo/__init__.py").write_bytes(b"a = 1\n")
    info = site / "Demo_Package-1.0.dist-info"
    info.mkdir()
    digest = "sha256=y3i9ihf3t1H-DUZjNm3LwlcgQDPvfd1ksfKWlXO1suI"
    lines = [f"demo/__init__.py,{digest},6", "demo/__pycache__/__init__.cpython-311.pyc,,", "Demo_Package-1.0.dist-info/RECORD,,"]
    (info / "RECORD").write_text("\n".join(lines) + "\n")
    return info


def test_distributions_are_found_and_named(dist, tmp_path):
    assert wheels.distributions(tmp_path) == [dist]
    assert wheels.name(dist) == "demo-package"


@pytest.mark.parametrize("content", [None, b"a = 11\n", b"a = 2\n"], ids=["gone", "longer", "same size"])
def test_damage_is_found(dist, content):
    path = dist.parent / "demo/__init__.py"
    since = time.time() - 1
    assert wheels.whole(dist, since)
    path.unlink()
    if content:
        path.write_bytes(content)
    assert not wheels.whole(dist, since)


def test_what_was_not_touched_since_is_not_read(dist):
    path = dist.parent / "demo/__init__.py"
    path.write_bytes(b"a = 2\n")
    os.utime(path, (1, 1))
    assert wheels.whole(dist, time.time() + 1)


def test_a_wheel_without_its_record_is_damaged(dist):
    (dist / "RECORD").unlink()
    assert not wheels.whole(dist, time.time())
