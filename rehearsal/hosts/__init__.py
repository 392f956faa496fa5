"""Hosts: containers that run systemd and sshd, with their disks, network and firewall."""
