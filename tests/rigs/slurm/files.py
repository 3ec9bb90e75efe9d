"""The files of the Slurm rig: daemons' configuration, the login user's home, the client's HOME, the stand-ins on the nodes' PATH."""

import os
import subprocess
from pathlib import Path

from tests.rigs.slurm import truth

SSH_PORT = 2222
CLUSTER = "rig"
CPUS, MEMORY_MIB = 8, 64000

# slurmd resolves with AI_ADDRCONFIG, which does not count 127.0.0.1: so `lo` has an address for documentation (RFC 5737) too.
# $1 is the rig's folder, $2 a control group of its own or nothing. All of it is seen in the rig's mount namespace alone, and goes with it.
SETUP = """
ip link set lo up
ip address add 192.0.2.1/32 dev lo
hostname slurm-login
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/lock /run/munge
[ -z "$2" ] || mount --bind "$2" /sys/fs/cgroup/freezer
"""

SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost=slurm-login(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmctldPort=6817
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
SchedulerType=sched/backfill
InactiveLimit=0
KillWait=10
MinJobAge=86400
SlurmctldTimeout=60
SlurmdTimeout=60
GresTypes=gpu
SlurmdParameters=config_overrides
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
"""

SSHD_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/ssh/host_key
AuthorizedKeysFile {folder}/ssh/authorized_keys
PidFile {folder}/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
"""

SKY_CONFIG = """\
allowed_clouds: [slurm]
slurm:
  cluster_configs:
    {cluster}:
      pricing:
        accelerators: {{{prices}}}
"""

# The uv installer's address is the one thing SkyPilot's set-up fetches with curl; anything else goes to the real curl, and finds no network.
CURL = """\
#!/bin/sh
case "$*" in
*astral.sh/uv*) printf '%s\\n' 'mkdir -p "$UV_INSTALL_DIR" && cp {folder}/bin/uv "$UV_INSTALL_DIR/uv"' ;;
*) exec /usr/bin/curl "$@" ;;
esac
"""

# SkyPilot asks for Python 3.10, which Debian 12 does not have; and its set-up runs uv without the profile's settings.
UV = """\
#!/bin/bash
export UV_PYTHON_DOWNLOADS=never UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS={wheelhouse}
arguments=("$@")
for i in "${{!arguments[@]}}"; do
    [ "${{arguments[i]}}" = 3.10 ] && [ "$i" -gt 0 ] && [ "${{arguments[i-1]}}" = --python ] && arguments[i]=/usr/bin/python3.11
done
exec {real} "${{arguments[@]}}"
"""

NVIDIA_SMI = """\
#!/bin/sh
case "$*" in
"--query-gpu=name,driver_version,memory.total --format=csv,noheader") all=1 ;;
"--query-gpu=name,driver_version --format=csv,noheader") all= ;;
*) echo "this stand-in does not know: $*" >&2; exit 2 ;;
esac
case "${{SLURMD_NODENAME:-}}" in
gpu-a100) echo "NVIDIA A100-SXM4-40GB, 580.65.06${{all:+, 40960 MiB}}" ;;
gpu-t4) echo "Tesla T4, 580.65.06${{all:+, 15360 MiB}}" ;;
*) echo "No devices were found" >&2; exit 6 ;;
esac
"""

PROFILE = """\
export PATH={folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export SLURM_CONF={folder}/slurm.conf TZ=UTC LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
export CLOUDTUNE_BOX_MAY_TRAIN_ON_CPU=1 UV_PYTHON_DOWNLOADS=never UV_NO_INDEX=1 UV_FIND_LINKS={wheelhouse} PIP_NO_INDEX=1 PIP_FIND_LINKS={wheelhouse}
"""


def write(folder: Path, wheelhouse: Path | None, *, cgroups: bool) -> None:
    """Write all of them under `folder`. cgroups: Slurm finds a step's processes by control group, as most clusters do."""
    for name in ("bin", "login", "ssh", "state", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    for node in truth.NODES:
        (folder / f"spool.{node}").mkdir()
    _slurm(folder, cgroups)
    _accounts(folder)
    _ssh(folder)
    _stand_ins(folder, wheelhouse)


def make_home(folder: Path, home: Path) -> None:
    """A user's HOME as it is when a cluster's administrator has let them in: ssh's key and address book, and SkyPilot's settings with the prices."""
    for name in (".slurm", ".sky", ".ssh"):
        (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    key = home / ".ssh/slurm_key"
    key.write_bytes((folder / "ssh/client_key").read_bytes())
    key.chmod(0o600)
    (home / ".ssh/known_hosts").write_text(_known_hosts(folder))
    client = f"Host {CLUSTER}\n  HostName 127.0.0.1\n  Port {SSH_PORT}\n  User root\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
    (home / ".slurm/config").write_text(client)
    prices = ", ".join(f"{gpu}: {usd}" for gpu, usd in truth.PRICES_USD_PER_HOUR.items())
    (home / ".sky/config.yaml").write_text(SKY_CONFIG.format(cluster=CLUSTER, prices=prices))
    # The one list that SkyPilot would fetch from the network. Without a checksum beside it, it counts as the user's and stays.
    names = home / ".sky/catalogs/v8/common/accelerators.csv"
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_text("AcceleratorName,Clouds\n" + "".join(f"{gpu},slurm\n" for gpu in truth.PRICES_USD_PER_HOUR))


def _slurm(folder: Path, cgroups: bool) -> None:
    lines, gres = [SLURM_CONF.format(cluster=CLUSTER, folder=folder, proctrack="cgroup" if cgroups else "linuxproc")], []
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    for number, (node, gpu) in enumerate(truth.NODES.items()):
        lines.append(
            f"NodeName={node} NodeHostname=slurm-login NodeAddr=127.0.0.1 Port={6820 + number} CPUs={CPUS} Sockets=1 CoresPerSocket={CPUS} "
            f"ThreadsPerCore=1 RealMemory={MEMORY_MIB} Gres=gpu:{gpu}:1 State=UNKNOWN\n"
        )
        default = "YES" if number == 0 else "NO"
        lines.append(f"PartitionName={gpu.lower()} Nodes={node} Default={default} MaxTime=1:00:00 DefaultTime=30:00 State=UP\n")
        gres.append(f"NodeName={node} Name=gpu Type={gpu} File=/dev/null\n")
    (folder / "slurm.conf").write_text("".join(lines))
    (folder / "gres.conf").write_text("".join(gres))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)


def _accounts(folder: Path) -> None:
    """The machine's accounts, but with root living in the rig: ssh and sshd take `~` from here. `*` is no password, yet not a locked account."""
    entries = Path("/etc/passwd").read_text().splitlines()
    moved = [f"root:x:0:0:root:{folder}/login:/bin/bash" if entry.startswith("root:") else entry for entry in entries]
    (folder / "passwd").write_text("\n".join(moved) + "\n")
    (folder / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (folder / "shadow").chmod(0o600)
    (folder / "hosts").write_text(f"127.0.0.1 localhost slurm-login {CLUSTER} {' '.join(truth.NODES)}\n")


def _ssh(folder: Path) -> None:
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "ssh" / name)], check=True)
    (folder / "ssh/authorized_keys").write_text((folder / "ssh/client_key.pub").read_text())
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=SSH_PORT, folder=folder))
    (folder / "login/.ssh").mkdir(mode=0o700)  # ssh takes `~` from the accounts, not from HOME
    (folder / "login/.ssh/known_hosts").write_text(_known_hosts(folder))


def _known_hosts(folder: Path) -> str:
    return f"[127.0.0.1]:{SSH_PORT} {(folder / 'ssh/host_key.pub').read_text()}"


def _stand_ins(folder: Path, wheelhouse: Path | None) -> None:
    scripts = {"curl": CURL.format(folder=folder), "nvidia-smi": NVIDIA_SMI.format()}
    if wheelhouse is not None:
        scripts["uv"] = UV.format(real=wheelhouse / "tools/bin/uv", wheelhouse=wheelhouse)
    for name, text in scripts.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    profile = PROFILE.format(folder=folder, wheelhouse=wheelhouse or folder / "no-wheels")
    for name in (".bash_profile", ".bashrc"):
        (folder / "login" / name).write_text(profile)
