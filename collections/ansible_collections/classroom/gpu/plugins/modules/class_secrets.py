"""Documentation of the action plugin of this name, which runs on the controller and needs no module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: class_secrets
short_description: Make what a class keeps secret, once
description:
  - Makes, in a folder of the controller, the SSH key pair of a class (C(id_ed25519), C(id_ed25519.pub)), its certificate authority
    (C(ca.key), C(ca.crt)) and the secret from which the passwords of its seats derive (C(secret)).
  - What is there is kept. A public half that is lost or wrong, C(id_ed25519.pub) or C(ca.crt), is made again from its private one.
    A private one that is damaged is told, and never made anew.
  - Runs in the process of Ansible. Two runs at once make one set of secrets, and a killed run leaves nothing half.
author: GPU Classroom
options:
  path:
    description: The folder of the class.
    type: path
    required: true
  classroom:
    description: Name of the class.
    type: str
    required: true
  ca_validity:
    description: How long the certificate of the CA is valid from its making on, such as C(+400d), or until when (C(20271231235959Z)).
    type: str
    default: +400d
  seats_exist:
    description: There are seats already, so that nothing that they depend on may be made anew.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would be done, and does nothing.
    support: full
  diff_mode:
    description: Names the files that change, and shows none of them.
    support: partial
"""

EXAMPLES = r"""
- name: Make the secrets of the class
  classroom.gpu.class_secrets:
    path: classes/123456789012-eu-central-1/class
    classroom: class
"""

RETURN = r"""
done:
  description: What was, or would be, done.
  returned: always
  type: list
  elements: str
"""
