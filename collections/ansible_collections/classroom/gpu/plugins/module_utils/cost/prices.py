"""What machines, disks and addresses cost at EC2, in US dollars without tax: an estimate from a dated table. Pure functions.

Sources: aws.amazon.com/ec2/pricing/on-demand (Linux, us-east-1; us-west-2 costs the same for these types), aws.amazon.com/ebs/pricing
(gp3) and aws.amazon.com/vpc/pricing (public IPv4 addresses), read on the day of AS_OF. Other regions cost some 5 to 60 percent more.
"""

from __future__ import annotations

AS_OF = "2026-11-23"
REGIONS = ("us-east-1", "us-west-2")  # whose prices these are
HOURS = 730.0  # of a month, as AWS counts it

DISK_GIB_MONTH = 0.08
ADDRESS_HOUR = 0.005
MACHINE_HOUR = {
    **{"g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g4dn.4xlarge": 1.204, "g4dn.8xlarge": 2.176, "g4dn.16xlarge": 4.352},
    **{"g4dn.12xlarge": 3.912, "g4dn.metal": 7.824},
    **{"g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g5.4xlarge": 1.624, "g5.8xlarge": 2.448, "g5.16xlarge": 4.096},
    **{"g5.12xlarge": 5.672, "g5.24xlarge": 8.144, "g5.48xlarge": 16.288},
    **{"g6.xlarge": 0.8048, "g6.2xlarge": 0.9776, "g6.4xlarge": 1.3232, "g6.8xlarge": 2.0144, "g6.16xlarge": 3.3968},
    **{"g6.12xlarge": 4.6016, "g6.24xlarge": 6.6752, "g6.48xlarge": 13.3504},
    **{"g6e.xlarge": 1.861, "g6e.2xlarge": 2.24208, "g6e.4xlarge": 3.00424, "g6e.8xlarge": 4.52856, "g6e.16xlarge": 7.57719},
    **{"g6e.12xlarge": 10.49264, "g6e.24xlarge": 15.06559, "g6e.48xlarge": 30.13118},
    **{"g7e.2xlarge": 3.3631, "g7e.4xlarge": 3.9982, "g7e.8xlarge": 5.2682, "g7e.12xlarge": 8.2861, "g7e.24xlarge": 16.57},
    **{"g7e.48xlarge": 33.14},
    **{"p4d.24xlarge": 21.957642, "p4de.24xlarge": 27.44705, "p5.4xlarge": 6.88, "p5.48xlarge": 55.04, "p5en.48xlarge": 63.296},
    **{"t3.medium": 0.0416, "t3.large": 0.0832, "t3.xlarge": 0.1664, "t3.2xlarge": 0.3328},
}


def machine(instance_type: str) -> float | None:
    """Return what a running machine costs an hour in dollars, without disk and address; None where the table does not know the type."""
    return MACHINE_HOUR.get(instance_type)


def disk(gib: float) -> float:
    """Return what a gp3 disk of that many GiB costs an hour in dollars, whether or not its machine runs."""
    return gib * DISK_GIB_MONTH / HOURS


def caveat(region: str) -> str:
    """Say what the prices are and what they leave out."""
    where = "" if region in REGIONS else f", those of us-east-1: {region} costs more"
    return f"estimated from prices of {AS_OF}{where}; without tax, traffic and credits"
