#!/usr/bin/python
"""Keep a course's data sets on a seat."""

from __future__ import annotations

DOCUMENTATION = r"""
module: course_data
short_description: Keep a course's data sets on a seat
description:
  - Downloads what is missing, verifies it by size and SHA-256, and gives it its name only then. Runs as the user who is to own the data.
  - A download that ended half-way is continued (HTTP range requests, RFC 9110), by the next run too. Where the server cannot do that, it
    begins again.
  - Free space is compared with what all missing data need before anything is downloaded.
  - A file whose size or time changed since is verified, and had anew where its content is another; that which was altered moves aside.
    Size and time are all that is looked at otherwise.
  - An archive is unpacked once, and not kept. Where the unpacked folder's mark, a hidden file, is gone, it is downloaded and unpacked
    again; files that are not the archive's stay, and altered ones move aside.
  - A folder appears only together with its data.
author: GPU Classroom
options:
  data:
    description: The data sets.
    type: list
    elements: dict
    required: true
    suboptions:
      url:
        description: Where the file is (http or https).
        type: str
        required: true
      sha256:
        description: SHA-256 of the file, in hex.
        type: str
        required: true
      size:
        description: Its size in bytes.
        type: int
        required: true
      dest:
        description: Where it goes, relative to O(folder) or absolute. The name of the file, or the folder to unpack it into; the default
          is the file's name in the url, and O(folder) itself for what is unpacked.
        type: str
        default: ""
      unpack:
        description: Unpack it. It is a tar archive, compressed or not, or a zip archive.
        type: bool
        default: false
      unpacked_size:
        description: What the unpacked files take, in bytes, as far as it is known; the default is three times O(data[].size).
        type: int
        default: 0
  root:
    description: An existing folder of the user's. Downloads that are not complete lie in C(.course-data) in it.
    type: path
    default: /data
  folder:
    description: Where a relative destination begins; the default is O(root).
    type: str
    default: ""
  patience:
    description: Seconds after which a server that sends nothing is given up.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says what would be downloaded, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Fetch the training data
  classroom.gpu.course_data:
    data:
      - url: https://example.org/brats.tar.gz
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        size: 53000000
        dest: brats
        unpack: true
        unpacked_size: 120000000
  become_user: ubuntu
"""

RETURN = r"""
downloaded:
  description: What was downloaded, or would be, with its size and where a download was continued.
  returned: success
  type: list
  elements: str
repaired:
  description: Destinations that had been there, and were gone or altered.
  returned: success
  type: list
  elements: str
set_aside:
  description: Where to went files that lay in the place of a data set's.
  returned: success
  type: list
  elements: str
again:
  description: Whether the same command may help, as where a server did not answer.
  returned: failure
  type: bool
msg:
  description: All of it in one sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.course.download import DataError, Store, settle, summary

ITEM = {
    "url": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "size": {"type": "int", "required": True},
    "dest": {"type": "str", "default": ""},
    "unpack": {"type": "bool", "default": False},
    "unpacked_size": {"type": "int", "default": 0},
}
SPEC = {
    "data": {"type": "list", "elements": "dict", "required": True, "options": ITEM},
    "root": {"type": "path", "default": "/data"},
    "folder": {"type": "str", "default": ""},
    "patience": {"type": "int", "default": 60},
}


@path_errors.told
def main() -> None:
    """Bring the data to what the list says."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = settle(Store(module.params), module.check_mode)
    except DataError as error:
        module.fail_json(msg=str(error), again=error.again)
    except OSError as error:
        module.fail_json(msg=path_errors.cause(error, module.params["root"]))
    if result["repaired"] and not module.check_mode:
        module.warn(f"Data that were gone or altered are as the course has them again: {', '.join(result['repaired'])}.")
    if result["set_aside"]:
        module.warn(f"Files that lay in the place of the course's data are now: {', '.join(result['set_aside'])}.")
    module.exit_json(**result, msg=summary(result["downloaded"], module.check_mode))


if __name__ == "__main__":
    main()
