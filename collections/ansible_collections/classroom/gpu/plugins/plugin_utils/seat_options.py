"""The options of the connection to a seat: those of ansible.builtin.ssh, and three more.

Here and not beside the connection, as Ansible's tools read what stands there without running it.
"""

from __future__ import annotations

from ansible.plugins.connection import ssh

# `options` is the last part of the parent's.
DOCUMENTATION = f"""{ssh.DOCUMENTATION.rstrip()}
      second_user:
        type: str
        description: The account that is tried where O(remote_user) does not come to run a command.
        vars: [{{name: ansible_second_user}}]
      seat:
        type: str
        description: What a refusal calls the seat.
        vars: [{{name: inventory_hostname}}]
      instance:
        type: str
        default: its machine
        description: What the class's known hosts call its machine.
        vars: [{{name: ec2_instance_id}}]
"""
