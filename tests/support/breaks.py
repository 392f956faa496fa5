"""What goes wrong on a seat: each row breaks it for real, and says whether the next run repairs it or names the cause.

A row's commands run as root on the seat, past SSH: what breaks the way in has to be broken, and mended, without it.
"""

from dataclasses import dataclass

ENVIRONMENT = "/opt/conda/envs/dl_aws"
PYTHON = f"{ENVIRONMENT}/lib/python3.11"
HOME = "/home/ubuntu"
SSHD = "$(systemctl show --property MainPID --value ssh)"
STUDENT = "runuser -u ubuntu --"
# What a kernel's own start-up file, which ends it, looks like.
ENDING = "import os; os._exit(1)"


@dataclass(frozen=True)
class Break:
    """One way to break a seat.

    Attributes:
        how: shell commands that break it.
        says: the sentence that names the cause, as a regular expression; empty where the next run repairs the seat.
        mend: shell commands that take back what was named, as its sentence tells a teacher.
        unharmed: whether it is nothing to a seat of ours: the run leaves it as it is, and the course works.
    """

    how: str
    says: str = ""
    mend: str = ""
    unharmed: bool = False


SERVER = {
    "server stopped and disabled": Break("systemctl disable --now jupyter"),
    "server frozen": Break("kill -STOP $(systemctl show --property MainPID --value jupyter)"),
    "server masked": Break("systemctl stop jupyter; rm /etc/systemd/system/jupyter.service; systemctl mask jupyter"),
    "unit deleted": Break("rm /etc/systemd/system/jupyter.service; systemctl daemon-reload"),
    "settings emptied": Break("truncate --size 0 /etc/jupyter/seat.py"),
    "settings cut short": Break("truncate --size 200 /etc/jupyter/seat.py; systemctl restart jupyter &"),
    "certificate deleted": Break("rm /etc/jupyter/cert.pem"),
    "certificate of another authority": Break(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=stranger -keyout /etc/jupyter/key.pem -out /etc/jupyter/cert.pem"
        " && systemctl restart jupyter --no-block"
    ),
    "private key deleted": Break("rm /etc/jupyter/key.pem"),
    "private key for everyone's eyes": Break("chmod 644 /etc/jupyter/key.pem"),
    "everything of /etc/jupyter deleted": Break("rm -r /etc/jupyter"),
    "/etc/jupyter without its mode": Break("chmod 000 /etc/jupyter"),
    "kernel deleted": Break("rm -r /etc/jupyter/kernels/dl_aws"),
    "kernel's description is no JSON": Break("echo '{' >/etc/jupyter/kernels/dl_aws/kernel.json"),
    "Jupyter's environment lost a file": Break("rm /opt/jupyter/lib/python3*/site-packages/jupyterlab/labapp.py"),
    "Jupyter's environment without its mode": Break("chmod 000 /opt/jupyter"),
    "Jupyter's environment deleted": Break("rm -r /opt/jupyter"),
    "Jupyter's runtime folder deleted": Break("rm -r /run/jupyter/runtime /run/jupyter/started"),
    "watch over the disk disabled": Break("systemctl disable --now jupyter-reserve.timer"),
}

ENVIRONMENTS = {
    "a module deleted": Break(f"rm {PYTHON}/site-packages/ipykernel/kernelapp.py"),
    "standard library damaged": Break(f"rm {PYTHON}/abc.py {PYTHON}/site-packages/IPython/__init__.py"),
    "Python deleted": Break(f"rm {ENVIRONMENT}/bin/python3.11"),
    "environment deleted": Break(f"rm -r {ENVIRONMENT}"),
    "environment without its mode": Break(f"chmod 000 {ENVIRONMENT}"),
    "environment that is root's": Break(f"chown root: {ENVIRONMENT} && chmod 700 {ENVIRONMENT}"),
    "records of conda deleted": Break(f"rm -r {ENVIRONMENT}/conda-meta"),
    "everything of conda deleted": Break("rm -r /opt/conda"),
    "a file that cannot be changed": Break(
        f"rm {PYTHON}/site-packages/ipykernel/kernelapp.py; chattr +i {PYTHON}/site-packages/ipykernel",
        "chattr -i",
        f"chattr -i {PYTHON}/site-packages/ipykernel",
    ),
    "pip's settings name a dead index": Break(
        f"mkdir -p {HOME}/.config/pip && printf '[global]\\nindex-url = http://127.0.0.1:9/\\n' >{HOME}/.config/pip/pip.conf",
        unharmed=True,
    ),
    "conda's settings name a dead channel": Break(f"printf 'channels: [http://127.0.0.1:9/]\\n' >{HOME}/.condarc", unharmed=True),
    "a kernel of the student's own that fails": Break(
        f"{STUDENT} mkdir -p {HOME}/.local/lib/python3.11/site-packages/ipykernel &&"
        f" {STUDENT} sh -c 'echo raise SystemExit >{HOME}/.local/lib/python3.11/site-packages/ipykernel/__init__.py'",
        unharmed=True,
    ),
    "a start-up file that ends the kernel": Break(
        f"{STUDENT} mkdir -p {HOME}/.ipython/profile_default/startup &&"
        f" {STUDENT} sh -c \"echo '{ENDING}' >{HOME}/.ipython/profile_default/startup/00-end.py\"",
        r"startup/00-end\.py",
        f"rm {HOME}/.ipython/profile_default/startup/00-end.py",
    ),
}

COURSES = {
    "course deleted": Break(f"rm -r {HOME}/dl_tutorial"),
    "course's repository damaged": Break(f"rm -r {HOME}/dl_tutorial/.git/refs {HOME}/dl_tutorial/.git/objects"),
    "course that is root's": Break(f"chown -R root: {HOME}/dl_tutorial && chmod 700 {HOME}/dl_tutorial"),
    "course without its mode": Break(f"chmod 000 {HOME}/dl_tutorial"),
    "git's settings are no settings": Break(f"echo '[' >{HOME}/.gitconfig", unharmed=True),
    "vim's settings deleted": Break(f"rm {HOME}/.vimrc"),
    "a plugin of vim's deleted": Break(f"rm -r {HOME}/.vim/bundle/*"),
    "vim's folder is root's": Break(
        f"chown -R root: {HOME}/.vim && chmod 700 {HOME}/.vim", "sudo chown ubuntu .*vim", f"chown -R ubuntu: {HOME}/.vim"
    ),
}

SYSTEM = {
    "a package removed": Break("dpkg --remove --force-depends acl"),
    "a package half configured": Break(
        "sed -i '/^Package: acl$/,/^$/s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status"
    ),
    "git removed": Break("dpkg --remove --force-depends git"),
    "APT's own lists deleted": Break("rm -r /var/lib/apt/lists/*", unharmed=True),
    "a source of APT's that is none": Break(
        "echo 'deb [signed-by' >/etc/apt/sources.list.d/student.list; dpkg --remove --force-depends acl",
        r"/etc/apt/sources\.list\.d/student\.list",
        "rm /etc/apt/sources.list.d/student.list",
    ),
    "name changed": Break("hostnamectl set-hostname elsewhere"),
    "time zone changed": Break("ln --symbolic --force /usr/share/zoneinfo/Asia/Tokyo /etc/localtime"),
    "stopping at the end disabled": Break("systemctl disable --now autostop.timer; rm /usr/local/sbin/autostop"),
    "no name resolves": Break("mount --bind /dev/null /etc/resolv.conf", "No name resolves", "umount /etc/resolv.conf"),
    "root's Python gone": Break("mv /usr/bin/python3 /root/python3", r"python3", "mv /root/python3 /usr/bin/python3"),
    "sudo without its right": Break("chmod u-s /usr/bin/sudo", r"sudo", "chmod u+s /usr/bin/sudo"),
    "no room where packages are kept": Break(
        "mount -t tmpfs -o size=1m,mode=777 full /opt/conda/pkgs; dd if=/dev/zero of=/opt/conda/pkgs/full bs=1k count=2000;"
        f" rm {PYTHON}/site-packages/ipykernel/kernelapp.py",
        mend="umount /opt/conda/pkgs",
    ),
    "/tmp for root alone": Break("chmod 700 /tmp"),
    "a unit of somebody's that failed": Break(
        "systemd-run --unit=broken /bin/false; sleep 1", mend="systemctl reset-failed", unharmed=True
    ),
    "Jupyter's data deleted": Break("rm -r /var/lib/jupyter", unharmed=True),
    "reserve for a full disk deleted": Break("rm /home/.reserve"),
}

WAY_IN = {
    "authorized_keys emptied": Break(f": >{HOME}/.ssh/authorized_keys"),
    "authorized_keys deleted with its folder": Break(f"rm -r {HOME}/.ssh"),
    "home for everyone to write": Break(f"chmod 777 {HOME}"),
    "student's sudo rule lost": Break("rm /etc/sudoers.d/90-cloud-init-users", unharmed=True),
    "login shell that does not exist": Break("usermod --shell /bin/nowhere ubuntu"),
    ".bashrc that prints and exits": Break(f"printf 'echo hello\\nexit 1\\n' >{HOME}/.bashrc", unharmed=True),
    "PYTHONHOME for everybody": Break("echo PYTHONHOME=/nowhere >>/etc/environment", unharmed=True),
    "PYTHONPATH for everybody": Break(
        "mkdir -p /srv/own && echo 'raise SystemExit' >/srv/own/json.py && echo PYTHONPATH=/srv/own >>/etc/environment",
        unharmed=True,
    ),
    "sshd frozen": Break(f"kill -STOP {SSHD}"),
    "sshd stopped": Break("systemctl disable --now ssh"),
    "sshd's settings are none": Break(
        "echo Nonsense >>/etc/ssh/sshd_config; systemctl restart ssh || true",
        r"sshd_config.*Nonsense.*In the terminal of its Jupyter correct",
        "sed -i '/^Nonsense/d' /etc/ssh/sshd_config; systemctl restart ssh",
    ),
    "logins forbidden": Break("touch /etc/nologin"),
    "student's account has ended": Break("chage --expiredate 0 ubuntu"),
}

PORTS = {
    "port dropped by a rule on the seat": Break(
        "apt-get -qq install --yes nftables >/dev/null; nft add table inet own;"
        " nft add chain inet own in '{ type filter hook input priority 0; }';"
        " nft add rule inet own in tcp dport 8888 drop",
        "rule of the seat's firewall",
        "nft delete table inet own",
    ),
    "another service on the port": Break(
        "systemctl stop jupyter; systemd-run --unit=squatter python3 -m http.server 8888; sleep 1", r"8888", "systemctl stop squatter"
    ),
}

BREAKS = SERVER | ENVIRONMENTS | COURSES | SYSTEM | WAY_IN | PORTS
