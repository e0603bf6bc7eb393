"""Several machines on this one: each has its own network, processes, name, /tmp, /dev/shm and sshd.

Made of Linux namespaces, joined by a bridge. Files outside /tmp are shared, and one folder wherever
it is. Nothing of it has a name that outlives its processes: the bridge has a namespace too, a
namespace is its processes', and a link ends with the namespace of either of its ends. Needs root
and Debian's iproute2, openssh-server, rsync and util-linux.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from waiting import DEADLINE, until

NETWORKS = 100
OWN = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc")
OWN += ("--mount-proc",)
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
mount -t sysfs sysfs /sys
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
    done = subprocess.run([*OWN, "sh", "-c", try_out], capture_output=True, check=False)
    return "" if done.returncode == 0 else "may not make namespaces, or networks in them"


class Hosts:
    """A switch, to which this machine belongs too, and the hosts on it: 10.77.n.0/24.

    n is the first network that nobody has, and the machine's link to it what says so.
    """

    def __init__(self, path: str, shown: Path) -> None:
        """`path`: PATH on every host. `shown`: a folder that every host has, below /tmp or not."""
        self._path, self._shown = path, shown
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[str]] = []
        self._switch = _silent("unshare", "--net", "sleep", "infinity")
        until(lambda: _network(self._switch.pid) != _network(os.getpid()), "there is no switch")
        self._number = next(filter(self._plugged, range(NETWORKS)))
        self.link = f"qdllm{self._number}"
        self.root = Path("/var/tmp", self.link)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(mode=0o755)
        for key in ("id", "host"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / key))
        shutil.copy(self.root / "id.pub", self.root / "authorized_keys")
        _run("ip", "addr", "add", f"{self.address(254)}/24", "dev", self.link)
        _run("ip", "link", "set", "dev", self.link, "up")
        self._on_switch("link", "add", "bridge", "type", "bridge")
        self._on_switch("link", "set", "dev", "bridge", "up")
        self._on_switch("link", "set", "dev", "machine", "master", "bridge", "up")

    def _plugged(self, number: int) -> bool:
        """Whether a link of that number could be made to the switch."""
        ends = (f"qdllm{number}", "type", "veth", "peer", "name", "machine")
        command = ["ip", "link", "add", *ends, "netns", str(self._switch.pid)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _on_switch(self, *command: str) -> None:
        _run("nsenter", "-t", str(self._switch.pid), "-n", "ip", *command)

    @property
    def key(self) -> Path:
        """The private key that every host lets in as root."""
        return self.root / "id"

    def address(self, last: int) -> str:
        """The address on this network that ends so."""
        return f"10.77.{self._number}.{last}"

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def up(self, name: str, last: int, environment: Mapping[str, str] | None = None) -> None:
        """Start a host, whose address ends in `last`.

        `environment`: what a login shell has there beside HOME and PATH.
        """
        folder, address = self.root / name, self.address(last)
        for part in ("tmp/home", "run"):
            (folder / part).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        known = {"root": self.root, "folder": folder, "name": name, "address": address}
        known["shown"] = self._shown
        (folder / "sshd_config").write_text(SSHD.format(**known))
        (folder / "init").write_text(INIT.format(**known))
        shell = {"HOME": "/tmp/home", "PATH": self._path} | dict(environment or {})
        lines = "".join(f"export {key}='{value}'\n" for key, value in shell.items())
        for file in (".bashrc", ".profile"):
            (folder / "tmp/home" / file).write_text(lines)
        self._processes[name] = _silent(*OWN, "bash", str(folder / "init"))
        until(lambda: self._init(name), f"there is no {name}")
        self._on_switch(
            *("link", "add", "name", name, "type", "veth", "peer", "name", "eth0"),
            *("netns", self._init(name)),
        )
        self._on_switch("link", "set", "dev", name, "master", "bridge", "up")
        here = ("nsenter", "-t", self._init(name), "-n", "ip")
        _run(*here, "link", "set", "dev", "lo", "up")
        _run(*here, "addr", "add", f"{address}/24", "dev", "eth0")
        _run(*here, "link", "set", "dev", "eth0", "up")
        ready = "test -e /run/sshd"
        until(lambda: not self.run(name, ready, check=False).returncode, f"{name} has no sshd")

    def run(self, name: str, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell's command on a host, as its root."""
        return subprocess.run(
            self._entry(name, command),
            **{"check": True, "capture_output": True, "text": True, "timeout": DEADLINE} | options,
        )

    def start(self, name: str, command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a shell's command on a host, which ends with the host if not before."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(self._entry(name, command), text=True, **silent | options)
        self._started.append(process)
        return process

    def unplug(self, name: str) -> None:
        """Cut its network; it goes on by itself."""
        self._on_switch("link", "set", "dev", name, "down")

    def plug(self, name: str) -> None:
        """Join it again."""
        self._on_switch("link", "set", "dev", name, "up")

    def down(self, name: str) -> None:
        """Cut its power: every process on it is gone."""
        _kill(self._processes.pop(name))

    def close(self) -> None:
        """Cut everybody's power, and the switch's."""
        for name in list(self._processes):
            self.down(name)
        for process in self._started:
            process.communicate()
        _kill(self._switch)
        shutil.rmtree(self.root)

    def _init(self, name: str) -> str:
        """The id of a host's first process; nothing where there is none."""
        command = ["pgrep", "-P", str(self._processes[name].pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def _entry(self, name: str, command: str) -> list[str]:
        if not (init := self._init(name)):
            return ["false"]
        script = f". /tmp/home/.profile; {command}"
        # What is set here is not set there.
        return ["nsenter", "-t", init, "-a", "--", "env", "-i", "bash", "-c", script]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _silent(*command: str) -> subprocess.Popen[bytes]:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(command, start_new_session=True, **streams)


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _network(process: int) -> str:
    """The namespace that a process's network is in."""
    return str(Path(f"/proc/{process}/ns/net").readlink())
