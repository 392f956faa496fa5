#!/usr/bin/python
"""Keep a course's git repository checked out in a student's home."""

from __future__ import annotations

DOCUMENTATION = r"""
module: course
short_description: Keep a course checked out in a student's home
description:
  - Clones the course, follows its branch, tag or commit, and brings deleted files and a deleted folder back.
  - Never overwrites what the student changed, and never fails because of it. A file that the student and the course both changed stays
    the student's, the course's version of it lands beside, and a warning says so.
  - Where the student has commits, the course stays at its commit, and a warning says why.
  - Keeps the course's commit on this machine as C(refs/classroom/course), whatever the student does to branches.
author: GPU Classroom
options:
  repository:
    description: Address of the git repository.
    type: str
    required: true
  version:
    description: Branch, tag, or commit (40 hex digits). V(HEAD) is the repository's default branch.
    type: str
    default: HEAD
  dest:
    description: Folder of the course.
    type: path
    required: true
  fresh:
    description: Move the checkout aside, with all that the student did in it, and make a new one.
    type: bool
    default: false
  patience:
    description: Seconds after which one git command is given up.
    type: int
    default: 600
attributes:
  check_mode:
    description: Asks the repository for its commit, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Check the course out
  classroom.gpu.course:
    repository: https://example.org/course.git
    version: main
    dest: /home/ubuntu/dl_tutorial
  become_user: ubuntu
"""

RETURN = r"""
before:
  description: The commit that was checked out, or nothing.
  returned: always
  type: str
after:
  description: The commit that is checked out.
  returned: always
  type: str
restored:
  description: Deleted files that were brought back.
  returned: always
  type: list
  elements: str
beside:
  description: Copies of files of the course that the student has changed too, with the course's new content.
  returned: always
  type: list
  elements: str
left:
  description: Why the course was left at another commit; empty where it was not.
  returned: always
  type: str
set_aside:
  description: Where something went that lay in the course's place, such as the checkout before O(fresh); empty where nothing did.
  returned: always
  type: str
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, told
from ansible_collections.classroom.gpu.plugins.module_utils.course.checkout import Course, GitError, sentences, settle

SPEC = {
    "repository": {"type": "str", "required": True},
    "version": {"type": "str", "default": "HEAD"},
    "dest": {"type": "path", "required": True},
    "fresh": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 600},
}


@path_errors.told
def main() -> None:
    """Compare the checkout with the course, and say what stays different."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    dest = Path(module.params["dest"])
    lost = give_back(dest, os.geteuid(), check=module.check_mode)
    if lost:
        module.warn(f"{told(lost, module.check_mode)}.")
    try:
        result = settle(Course(module.params), module.check_mode)
    except GitError as error:
        module.fail_json(msg=path_errors.of_words(str(error), dest) or f"{' '.join(str(error).split())}.")
    if result["left"] and (why := path_errors.of_words(result["left"], dest)):
        module.fail_json(msg=why)
    result["changed"] |= bool(lost)
    for sentence in sentences(result, module.params["dest"]):
        module.warn(sentence)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
