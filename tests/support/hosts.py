"""Several machines on this one: each has its own network, processes, name, /tmp, /dev/shm and sshd.

Made of Linux namespaces, joined by a bridge. Files outside /tmp are shared, and one folder wherever
it is. Needs root and Debian's iproute2, openssh-server, rsync and util-linux.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SWITCH = "qdllm0"
OWN = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--mount-proc")
SSHD = """\
Port 22
HostKey {root}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {root}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
MaxStartups 100
MaxSessions 100
"""
INIT = """\
set -e
mount --make-rprivate /
mount --bind {folder}/run /run
mkdir {folder}/shown
mount --bind {shown} {folder}/shown
mount --rbind {folder}/tmp /tmp
mkdir -p {shown}
mount --bind {folder}/shown {shown}
mount -t tmpfs -o size=2g tmpfs /dev/shm
mkdir -p /run/sshd
sed 's#^root:x:0:0:root:/root:#root:x:0:0:root:/tmp/home:#' /etc/passwd > {folder}/passwd
mount --bind {folder}/passwd /etc/passwd
(cat /etc/hosts; echo {address} {name}) > {folder}/hosts
mount --bind {folder}/hosts /etc/hosts
hostname {name}
exec /usr/sbin/sshd -D -f {folder}/sshd_config -E {folder}/sshd.log
"""


def lacking() -> str:
    """Why there can be no hosts here; nothing if there can."""
    if os.geteuid():
        return "needs root"
    tools = ("ip", "unshare", "nsenter", "rsync", "ssh-keygen", "/usr/sbin/sshd")
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        return f"needs {', '.join(missing)}; see `make tools`"
    try_out = "ip link add br0 type bridge && ip link add one type veth peer name two"
    done = subprocess.run([*OWN, "--net", "sh", "-c", try_out], capture_output=True, check=False)
    return "" if done.returncode == 0 else "may not make namespaces, or networks in them"


class Hosts:
    """A switch, to which this machine belongs too, and the hosts on it: 10.77.0.0/24."""

    def __init__(self, root: Path, path: str, shown: Path) -> None:
        """`root`: a folder outside /tmp for their files; `path`: PATH on every host.

        `shown`: a folder that every host has, below /tmp or not.
        """
        self.root, self._path, self._shown = root, path, shown
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[str]] = []
        for key in ("id", "host"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / key))
        shutil.copy(root / "id.pub", root / "authorized_keys")
        _run("ip", "link", "add", SWITCH, "type", "bridge")
        _run("ip", "addr", "add", "10.77.0.254/24", "dev", SWITCH)
        _run("ip", "link", "set", SWITCH, "up")

    @property
    def key(self) -> Path:
        """The private key that every host lets in as root."""
        return self.root / "id"

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def up(self, name: str, address: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a host. `environment`: what a login shell has there beside HOME and PATH."""
        folder = self.root / name
        for part in ("tmp/home", "run"):
            (folder / part).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        end = f"v{name}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", end, "master", SWITCH, "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        known = {"root": self.root, "folder": folder, "name": name, "address": address}
        known["shown"] = self._shown
        (folder / "sshd_config").write_text(SSHD.format(**known))
        (folder / "init").write_text(INIT.format(**known))
        shell = {"HOME": "/tmp/home", "PATH": self._path} | dict(environment or {})
        lines = "".join(f"export {key}='{value}'\n" for key, value in shell.items())
        for file in (".bashrc", ".profile"):
            (folder / "tmp/home" / file).write_text(lines)
        self._processes[name] = subprocess.Popen(
            ["ip", "netns", "exec", name, *OWN, "bash", str(folder / "init")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while self.run(name, "test -e /run/sshd", check=False).returncode:
            assert time.monotonic() < deadline, f"{name} did not start"
            time.sleep(0.1)

    def run(self, name: str, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell's command on a host, as its root."""
        return subprocess.run(
            self._entry(name, command),
            **{"check": True, "capture_output": True, "text": True, "timeout": 300} | options,
        )

    def start(self, name: str, command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a shell's command on a host, which ends with the host if not before."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(self._entry(name, command), text=True, **silent | options)
        self._started.append(process)
        return process

    def unplug(self, name: str) -> None:
        """Cut its network; it goes on by itself."""
        _run("ip", "link", "set", f"v{name}", "down")

    def plug(self, name: str) -> None:
        """Join it again."""
        _run("ip", "link", "set", f"v{name}", "up")

    def down(self, name: str) -> None:
        """Cut its power: every process on it is gone."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _run("ip", "netns", "del", name)

    def close(self) -> None:
        """Cut everybody's power, and take the switch away."""
        for name in list(self._processes):
            self.down(name)
        for process in self._started:
            process.communicate()
        _run("ip", "link", "del", SWITCH)

    def _entry(self, name: str, command: str) -> list[str]:
        init = subprocess.run(
            ["pgrep", "-P", str(self._processes[name].pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if not init:
            return ["false"]
        script = f". /tmp/home/.profile; {command}"
        # What is set here is not set there.
        return ["nsenter", "-t", init[0], "-a", "--", "env", "-i", "bash", "-c", script]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
