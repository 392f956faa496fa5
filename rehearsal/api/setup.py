"""Put the API together."""

from __future__ import annotations

import os

from . import catalogue, eventual_consistency, fleet, images, instances, launch, moto_patches, protection, service_quotas, volumes
from .app import Application
from .auth import Gatekeeper, valid_regions
from .cloud import Cloud


def build(cloud: Cloud, cidr: str, access_key: str, secret_key: str) -> Application:
    """Mend moto in this process, tie it to the cloud's hosts and return the web application. Once a process.

    Args:
        cloud: knows the hosts.
        cidr: network of the default VPC.
        access_key: the only access key that is accepted.
        secret_key: its secret.
    """
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # roles attach AmazonSSMManagedInstanceCore, which moto hides by default
    catalogue.install()
    moto_patches.install(cidr)
    volumes.install()
    instances.install(cloud)
    launch.install(cloud)
    images.install(cloud)
    fleet.install()
    protection.install()
    eventual_consistency.install()
    service_quotas.install(cloud)
    return Application(cloud, Gatekeeper(access_key, secret_key, valid_regions()))
