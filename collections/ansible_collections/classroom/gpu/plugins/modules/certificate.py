"""Documentation of the action plugin of this name. Its half on the seat is the module seat_certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate
short_description: Keep a certificate of the class's CA for a seat's present addresses
description:
  - The private key is made on the seat and never leaves it. The controller signs what the seat asks for with the class's CA, in the process
    of Ansible.
  - One call to the seat where there is nothing to do, two where it gets another certificate.
  - A certificate is kept while it is of this CA, for this key, for exactly these addresses and uses, and does not end within 30 days.
author: GPU Classroom
options:
  path:
    description:
      - Where the seat's certificate lies, followed by that of the CA in the same file. It belongs to root, and everybody may read it.
    type: path
    required: true
  key:
    description: Where the seat's private key lies.
    type: path
    required: true
  owner:
    description: The user on the seat who alone may read the private key.
    type: str
    required: true
  obsolete:
    description: Files on the seat that earlier versions needed, to be removed.
    type: list
    elements: path
    default: []
  seat:
    description: The seat's id, which the certificate shows.
    type: str
    required: true
  addresses:
    description: The IPv4 addresses that the certificate is for.
    type: list
    elements: str
    required: true
  days:
    description: Days that a new certificate is good for.
    type: int
    default: 365
  class_dir:
    description: The class's folder on the controller, with C(ca.crt) and C(ca.key).
    type: path
    required: true
  copy:
    description: Where a copy of the certificate is kept on the controller, so that one that is lost on the seat comes back as it was.
    type: path
    required: true
attributes:
  check_mode:
    description: Says what would be done, and does nothing.
    support: full
  diff_mode:
    description: Says what changes, and shows no content.
    support: partial
"""

EXAMPLES = r"""
- name: Give the seat a certificate
  classroom.gpu.certificate:
    path: /etc/jupyter/cert.pem
    key: /etc/jupyter/key.pem
    owner: ubuntu
    seat: s01
    addresses: [198.51.100.7, 10.0.0.7]
    class_dir: classes/123456789012-eu-central-1/class
    copy: classes/123456789012-eu-central-1/class/seats/s01/jupyter.crt
"""

RETURN = r"""
done:
  description: What was, or would be, done on the seat and on the controller.
  returned: always
  type: list
  elements: str
"""
