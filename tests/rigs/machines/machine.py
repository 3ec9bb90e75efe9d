"""One instance as a real machine: an overlay root and mount, pid, uts, ipc and network namespaces of its own, reached by a real sshd.

Must run in the rig's namespaces (rig.py makes them): every mount and process made here ends with them, whatever happens.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.rigs.machines import image, nvidia

BOOT_BOUND_S = 60.0
_SPACES = ["--mount", "--pid", "--uts", "--ipc", "--net"]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# $1 the machine's folder  $2 root's home in the image  $3 its path  $4 wheelhouse  $5 its path  $6 API socket  $7 host name  $8 volume's path
_ENTER = """
R=$1; hostname $7; ip link set lo up
mount -t overlay overlay -o lowerdir=/,upperdir=$R/d/u,workdir=$R/d/w $R/m
mkdir -p $R/m$3 $R/m$5
mount -t overlay overlay -o lowerdir=$2,upperdir=$R/d/hu,workdir=$R/d/hw $R/m$3
mount --bind $4 $R/m$5; mount -o remount,bind,ro $R/m$5
[ -z "$8" ] || { mkdir -p "$R/m$8"; mount --bind $R/v "$R/m$8"; }
mount -t proc proc $R/m/proc; mount --rbind /dev $R/m/dev; mount --rbind /sys $R/m/sys
for d in tmp run dev/shm; do mkdir -p $R/m/$d; mount -t tmpfs tmpfs $R/m/$d; done; chmod 1777 $R/m/tmp $R/m/dev/shm
mkdir -p $R/m/run/sshd; touch $R/m/run/api.sock; mount --bind $6 $R/m/run/api.sock
exec chroot $R/m /usr/bin/env -i bash -c 'set -a; . /.rig/environment; exec bash /.rig/init'
"""
# The environment is there before bash becomes process 1, because programs read the instance's key in /proc/1/environ.
_INIT = """
cd $HOME
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A
socat TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:/run/api.sock &
touch /run/rig-booted
{then}
"""
# How the image's owner starts: once, and then the machine stays; or, as a container's command, again whenever it ends.
ONCE = """bash /.rig/onstart >/.rig/onstart.log 2>&1
trap : TERM
while :; do sleep 3600 & wait $!; done"""
AS_COMMAND = """cd /
trap '[ -z "$child" ] || kill -TERM $child' TERM
while :; do
  bash /.rig/onstart >>/.rig/onstart.log 2>&1 & child=$!
  wait $child; while kill -0 $child 2>/dev/null; do wait $child; done
  sleep 1
done"""
_NO_APT = 'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";\n'  # no network, and no wait for one
_SSHD = "PermitRootLogin prohibit-password\nUsePAM no\nSubsystem sftp internal-sftp\nStrictModes no\nPermitUserEnvironment yes\nMaxStartups 100\n"


@dataclass(kw_only=True)
class Machine:
    """Made from its settings; `boot`, `halt` (the disk stays), `renew` (only the volume stays) and `wipe`. `on_ready` is called when it runs."""

    folder: Path
    baked: image.Image
    api_socket: Path
    api_port: int  # at which an instance finds the API on its own loopback
    hostname: str
    disk_gib: float
    gpu: nvidia.Gpu | None
    boot_s: float
    env: Mapping[str, str]  # of process 1
    onstart: str
    then: str = ONCE
    session_env: Mapping[str, str] | None = None  # what sshd gives to every session; None: the same as `env`
    own_sshd: bool = False  # True: reached only once something inside has started an sshd on port 22
    volume_gib: float = 0.0
    volume_path: str = ""
    authorized_keys: list[str]
    on_ready: Callable[[], None]
    log: Callable[[str], None]
    port: int = 0  # ssh, on loopback; kept over reboots
    _server: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _init: int | None = None
    _halted: threading.Event = field(default_factory=threading.Event)

    def prepare(self) -> None:
        """The empty disks, what a provider writes on them, and the public port."""
        for part in ("d", "m", "v"):
            (self.folder / part).mkdir(parents=True)
        if self.volume_gib:
            _mount_tmpfs(self.folder / "v", self.volume_gib)
        self._new_disk()
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]

    def _new_disk(self) -> None:
        _mount_tmpfs(self.folder / "d", self.disk_gib)
        for part in ("u", "w", "hu", "hw"):
            (self.folder / "d" / part).mkdir()
        self._write_system()
        ssh = self.folder / "d/hu/.ssh"
        ssh.mkdir(mode=0o700)
        session = self.env if self.session_env is None else self.session_env
        shown = {name: value for name, value in session.items() if "\n" not in value}
        (ssh / "environment").write_text("".join(f"{name}={value}\n" for name, value in shown.items()))
        (ssh / "authorized_keys").write_text("".join(f"{key.strip()}\n" for key in self.authorized_keys))
        nvidia.install(self.folder / "d/u", self.gpu)

    def _write_system(self) -> None:
        passwd = re.sub(r"(?m)^(root:[^:]*:0:0:[^:]*):[^:]*:[^:]*$", rf"\1:{image.HOME}:/bin/bash", Path("/etc/passwd").read_text())
        env = {"HOME": image.HOME, "PATH": _PATH, **self.env}
        self._write("/etc/passwd", passwd)
        self._write("/etc/hosts", f"127.0.0.1 localhost {self.hostname}\n")
        self._write("/etc/ssh/sshd_config", _SSHD)
        self._write("/etc/apt/apt.conf.d/99rig", _NO_APT)
        self._write("/.rig/environment", "".join(f"{name}={_quoted(value)}\n" for name, value in env.items()))
        self._write("/.rig/init", _INIT.format(port=self.api_port, then=self.then))
        self._write("/.rig/onstart", self.onstart)
        if not self.baked.python.startswith("/usr/bin/"):
            link = self.folder / "d/u/usr/local/bin/python3.11"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.baked.python)

    def _write(self, path: str, text: str) -> None:
        target = self.folder / "d" / "u" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def boot(self) -> None:
        """Start it in the background; `on_ready` comes after `boot_s` and the container's start."""
        self._halted = threading.Event()
        threading.Thread(target=self._boot, args=(self._halted,), daemon=True).start()

    def _boot(self, halted: threading.Event) -> None:
        if halted.wait(self.boot_s):
            return
        places = [
            str(self.folder),
            str(self.baked.home),
            image.HOME,
            str(self.baked.wheelhouse),
            image.WHEELHOUSE,
            str(self.api_socket),
            self.hostname,
            self.volume_path if self.volume_gib else "",
        ]
        argv = ["unshare", *_SPACES, "--fork", "--kill-child", "--", "sh", "-eu", "-c", _ENTER, "boot", *places]
        with (self.folder / "console.log").open("ab") as console:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        self._process = process
        init = self._wait_booted(process, halted)
        if init is None:
            return
        self._init = int(init)
        self.on_ready()
        self._serve_ssh(init, halted)

    def _wait_booted(self, process: subprocess.Popen[bytes], halted: threading.Event) -> str | None:
        """The process id of the machine's init, once it is up; None when it was halted meanwhile or died (told in the log)."""
        deadline = time.monotonic() + BOOT_BOUND_S
        while not halted.wait(0.05):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if process.poll() is not None or time.monotonic() > deadline:
                self.log(f"{self.hostname}: did not boot: {(self.folder / 'console.log').read_text()[-2000:]}")
                return None
            kids = children.read_text().split() if children.exists() else []
            if kids and os.path.exists(f"/proc/{kids[0]}/root/run/rig-booted"):
                return kids[0]
        return None

    def _serve_ssh(self, init: str, halted: threading.Event) -> None:
        assert self._server is not None
        whole = ["nsenter", "-t", init, "-m", "-p", "-u", "-i", "-n", f"--root=/proc/{init}/root", "--wd=/", "--"]
        network = ["nsenter", "-t", init, "-n", "--"]
        reach = [*network, "socat", "-", "TCP:127.0.0.1:22"] if self.own_sshd else [*whole, "/usr/sbin/sshd", "-i", "-e"]
        self._server.settimeout(0.5)  # so that a halt is seen; nothing is served by a machine that is down
        while not halted.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # wiped: the port is closed
            client.setblocking(True)
            with client, (self.folder / "sshd.log").open("ab") as log:
                server = subprocess.Popen(reach, stdin=client, stdout=client, stderr=log)
            threading.Thread(target=server.wait, daemon=True).start()  # no zombies

    def terminate(self, *, everyone: bool) -> None:
        """SIGTERM, as a container that is stopped gets it: to process 1, or to `everyone` inside."""
        init = self._init
        if init is None or self._process is None:
            return
        space = os.readlink(f"/proc/{init}/ns/pid")
        for entry in Path("/proc").iterdir() if everyone else [Path(f"/proc/{init}")]:
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == space:
                    os.kill(int(entry.name), signal.SIGTERM)
            except (OSError, ProcessLookupError):
                continue  # it ended meanwhile

    def rekey(self) -> None:
        """Other SSH host keys, from the next connection on and after a reboot."""
        folder = self.folder / "d/u/etc/ssh"
        folder.mkdir(parents=True, exist_ok=True)
        seen = Path(f"/proc/{self._init}/root/etc/ssh") if self._process is not None and self._init is not None else folder
        for kind in ("rsa", "ecdsa", "ed25519"):
            with tempfile.TemporaryDirectory() as scratch:
                key = Path(scratch) / "key"
                subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True)
                for source, name in ((key, f"ssh_host_{kind}_key"), (key.with_suffix(".pub"), f"ssh_host_{kind}_key.pub")):
                    shutil.copy(source, seen / name)
        pid = Path(f"/proc/{self._init}/root/run/sshd.pid")
        if self.own_sshd and pid.exists():
            inside = ["nsenter", "-t", str(self._init), "-p", "-m", f"--root=/proc/{self._init}/root", "--"]
            subprocess.run([*inside, "sh", "-c", "kill -HUP $(cat /run/sshd.pid)"], check=True)

    def halt(self) -> None:
        """Every process of the machine ends at once, as when a container is killed; its disk stays."""
        self._halted.set()
        if self._process is not None:
            self._process.kill()  # --kill-child: the kernel ends init, and with init the whole pid namespace
            self._process.wait()
            self._process = self._init = None

    def renew(self) -> None:
        """Halt it and give it an empty disk; the volume stays."""
        self.halt()
        _unmount(self.folder / "d")
        self._new_disk()

    def wipe(self) -> None:
        """Halt it and give its disks and its port back."""
        self.halt()
        if self._server is not None:
            self._server.close()
        _unmount(self.folder / "d")
        if self.volume_gib:
            _unmount(self.folder / "v")
        shutil.rmtree(self.folder)


def _mount_tmpfs(folder: Path, gib: float) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(gib * 1024)}m", "tmpfs", str(folder)], check=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
