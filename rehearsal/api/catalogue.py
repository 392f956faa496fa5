"""The images and SSM public parameters of the rehearsal: names, owners and root devices are those that AWS publishes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models import amis
from moto.ssm import models as ssm

from . import images

CANONICAL, DEBIAN, AMAZON = "099720109477", "136693071363", "898082745236"
UBUNTU_PATH = "/aws/service/canonical/ubuntu/server/{}/stable/current/amd64/hvm/{}/ami-id"
DEBIAN_PATH = "/aws/service/debian/release/{}/latest/amd64"
DEEP_LEARNING_PATH = "/aws/service/deeplearning/ami/x86_64/{}/latest/ami-id"


@dataclass(frozen=True)
class Image:
    """An image, with the SSM parameters whose value is its id. root_gib: size of the root snapshot."""

    name: str
    owner: str
    root_device: str
    root_gib: int
    parameters: tuple[str, ...]
    alias: str | None = None

    @property
    def id(self) -> str:
        """An id that is the same in every rehearsal."""
        return "ami-" + hashlib.sha256(self.name.encode()).hexdigest()[:17]


def _ubuntu(release: str, code: str, disk: str) -> Image:
    suffix = "" if disk == "ebs-gp2" else "-gp3"
    name = f"ubuntu/images/hvm-ssd{suffix}/ubuntu-{code}-{release}-amd64-server-20261101"
    return Image(name, CANONICAL, "/dev/sda1", 8, (UBUNTU_PATH.format(release, disk),))


def _debian(release: str, code: str) -> Image:
    paths = (DEBIAN_PATH.format(release), DEBIAN_PATH.format(code))
    return Image(f"debian-{release}-amd64-20261101-2290", DEBIAN, "/dev/xvda", 8, paths)


def _deep_learning(release: str, slug: str, title: str, gib: int) -> Image:
    path = DEEP_LEARNING_PATH.format(f"{slug}-ubuntu-{release}")
    return Image(f"{title} (Ubuntu {release}) 20261006", AMAZON, "/dev/sda1", gib, (path,), "amazon")


IMAGES = (
    _ubuntu("22.04", "jammy", "ebs-gp2"),
    _ubuntu("22.04", "jammy", "ebs-gp3"),
    _ubuntu("24.04", "noble", "ebs-gp3"),
    _debian("12", "bookworm"),
    _debian("13", "trixie"),
    _deep_learning("22.04", "base-oss-nvidia-driver-gpu", "Deep Learning Base OSS Nvidia Driver GPU AMI", 75),
    _deep_learning("24.04", "base-oss-nvidia-driver-gpu", "Deep Learning Base OSS Nvidia Driver GPU AMI", 75),
    _deep_learning("22.04", "base-with-single-cuda", "Deep Learning Base AMI with Single CUDA", 35),
    _deep_learning("24.04", "base-with-single-cuda", "Deep Learning Base AMI with Single CUDA", 35),
)


def install() -> None:
    """Replace moto's images (of 2017, and hundreds nobody here asks for) and add the public parameters, in every region."""
    amis.AmiBackend._load_amis = _load_images
    amis.Ami.block_device_mappings = property(images.mappings_of)
    original = ssm.ParameterDict.__init__

    def with_public_parameters(self: Any, account_id: str, region_name: str) -> None:
        original(self, account_id, region_name)
        # moto's own Amazon Linux parameters would name images that do not exist here.
        self.latest_amis_loaded = self.latest_ecs_amis_loaded = True
        for image in IMAGES:
            for name in image.parameters:
                self[name].append(ssm.Parameter(account_id, name, image.id, "String", None, None, None, utcnow(), 1, "aws:ec2:image"))

    ssm.ParameterDict.__init__ = with_public_parameters


def _load_images(backend: Any) -> None:
    for image in IMAGES:
        made = amis.Ami(
            backend,
            image.id,
            name=image.name,
            description=image.name,
            owner_id=image.owner,
            owner_alias=image.alias,
            public=True,
            virtualization_type="hvm",
            architecture="x86_64",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=image.root_device,
            image_location=f"{image.owner}/{image.name}",
            sriov="simple",
        )
        made.ebs_snapshot.volume.size = image.root_gib
        backend.amis[image.id] = made
