"""One instance as a real machine: an overlay root and mount, pid, uts, ipc and network namespaces of its own, reached by `sshd -i`.

Must run in the rig's namespaces (rig.py makes them): every mount and process made here ends with them, whatever happens.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.rigs.vast import image, nvidia

API_PORT = 8899  # of the emulated API, in the rig's namespace and, through a socket, in every instance's own
BOOT_BOUND_S = 60.0
_SPACES = ["--mount", "--pid", "--uts", "--ipc", "--net"]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# $1 the machine's folder  $2 root's home in the image  $3 its path  $4 wheelhouse  $5 its path  $6 API socket  $7 host name
_ENTER = """
R=$1; hostname $7; ip link set lo up
mount -t overlay overlay -o lowerdir=/,upperdir=$R/d/u,workdir=$R/d/w $R/m
mkdir -p $R/m$3 $R/m$5
mount -t overlay overlay -o lowerdir=$2,upperdir=$R/d/hu,workdir=$R/d/hw $R/m$3
mount --bind $4 $R/m$5; mount -o remount,bind,ro $R/m$5
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
bash /.rig/onstart >/.rig/onstart.log 2>&1
trap : TERM
while :; do sleep 3600 & wait $!; done
"""
_SSHD = "PermitRootLogin prohibit-password\nUsePAM no\nSubsystem sftp internal-sftp\nStrictModes no\nPermitUserEnvironment yes\nMaxStartups 100\n"


@dataclass(kw_only=True)
class Machine:
    """Made from its settings; `boot`, `halt` (the disk stays) and `wipe`. `on_ready` is called when it runs."""

    folder: Path
    baked: image.Image
    api_socket: Path
    hostname: str
    disk_gib: float
    gpu: nvidia.Gpu | None
    boot_s: float
    env: Mapping[str, str]
    onstart: str
    authorized_keys: list[str]
    on_ready: Callable[[], None]
    log: Callable[[str], None]
    port: int = 0  # ssh, on loopback; kept over reboots
    _server: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _halted: threading.Event = field(default_factory=threading.Event)

    def prepare(self) -> None:
        """The empty disk and what a provider writes on it."""
        for part in ("d", "m"):
            (self.folder / part).mkdir(parents=True)
        size = f"size={int(self.disk_gib * 1024)}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder / "d")], check=True)
        for part in ("u", "w", "hu", "hw"):
            (self.folder / "d" / part).mkdir()
        env = {"HOME": image.HOME, "PATH": _PATH, **self.env}
        self._write(
            "/etc/passwd",
            re.sub(r"(?m)^(root:[^:]*:0:0:[^:]*):[^:]*:[^:]*$", rf"\1:{image.HOME}:/bin/bash", Path("/etc/passwd").read_text()),
        )
        self._write("/etc/hosts", f"127.0.0.1 localhost {self.hostname}\n")
        self._write("/etc/ssh/sshd_config", _SSHD)
        self._write("/.rig/environment", "".join(f"{name}={_quoted(value)}\n" for name, value in env.items()))
        self._write("/.rig/init", _INIT.format(port=API_PORT))
        self._write("/.rig/onstart", self.onstart)
        if not self.baked.python.startswith("/usr/bin/"):
            link = self.folder / "d/u/usr/local/bin/python3.11"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.baked.python)
        ssh = self.folder / "d/hu/.ssh"
        ssh.mkdir(mode=0o700)
        shown = {name: value for name, value in self.env.items() if "\n" not in value}
        (ssh / "environment").write_text("".join(f"{name}={value}\n" for name, value in shown.items()))
        (ssh / "authorized_keys").write_text("".join(f"{key.strip()}\n" for key in self.authorized_keys))
        nvidia.install(self.folder / "d/u", self.gpu)
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]

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
        ]
        argv = ["unshare", *_SPACES, "--fork", "--kill-child", "--", "sh", "-eu", "-c", _ENTER, "boot", *places]
        with (self.folder / "console.log").open("ab") as console:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        self._process = process
        init = self._wait_booted(process, halted)
        if init is None:
            return
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
        enter = ["nsenter", "-t", init, "-m", "-p", "-u", "-i", "-n", f"--root=/proc/{init}/root", "--wd=/", "--"]
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
                server = subprocess.Popen([*enter, "/usr/sbin/sshd", "-i", "-e"], stdin=client, stdout=client, stderr=log)
            threading.Thread(target=server.wait, daemon=True).start()  # no zombies

    def halt(self) -> None:
        """Every process of the machine ends at once, as when a container is killed; its disk stays."""
        self._halted.set()
        if self._process is not None:
            self._process.kill()  # --kill-child: the kernel ends init, and with init the whole pid namespace
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Halt it and give its disk and its port back."""
        self.halt()
        if self._server is not None:
            self._server.close()
        subprocess.run(["umount", "--lazy", str(self.folder / "d")], check=True)
        shutil.rmtree(self.folder)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
