"""Two PostgreSQL 15 nodes under Patroni, with etcd: Debian's packages, on addresses of their own.

Either on addresses of the loopback device, or each node in a network namespace, so that any two can be cut
off from each other: what they send each other then goes nowhere, without a word, as when a cable is pulled.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import requests

from tests.pg.servers import DEBIAN_15, _memory

PACKAGES: Mapping[str, Path] = {
    "postgresql-15": DEBIAN_15 / "postgres",
    "patroni": Path("/usr/bin/patroni"),
    "etcd-server": Path("/usr/bin/etcd"),
}
TTL = 8
"""Seconds until the lock of a primary that is gone runs out. By default Patroni waits for 30."""

DYNAMIC: Mapping[str, Any] = {
    "ttl": TTL,
    "loop_wait": 1,
    "retry_timeout": 3,
    "primary_start_timeout": 0,
    "synchronous_mode": True,
    "synchronous_mode_strict": False,
    "postgresql": {
        "use_pg_rewind": True,
        "parameters": {"max_connections": 100, "wal_log_hints": "on", "wal_sender_timeout": "5s"},
    },
}
"""Of the whole cluster, kept in etcd. What docs/operations.md advises, with shorter times."""

_PORT, _REST, _ETCD = 5432, 8008, 2379
_ACCOUNT = "postgres"


@dataclass
class Host:
    """A machine: an address, and the way to start a program there."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()
    log: Path = Path("/dev/null")
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            program = subprocess.Popen(
                [*self.prefix, *_as_account(), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            )
        self.programs.append(program)

    def kill_programs(self) -> None:
        for program in self.programs:
            program.kill()
            program.wait()
        self.programs.clear()


class Node(Host):
    """PostgreSQL and the Patroni that looks after it."""

    data: Path
    configuration: Path

    def start_patroni(self) -> None:
        self.start(["/usr/bin/patroni", str(self.configuration)])

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.address}:{_PORT}/postgres"

    def says(self, path: str) -> bool:
        """Whether Patroni answers 200: `primary`, `sync`, `replica`."""
        try:
            return requests.get(f"http://{self.address}:{_REST}/{path}", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def postmaster(self) -> int:
        """Its process id, 0 when none runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            return pid if Path(f"/proc/{pid}/exe").resolve() == DEBIAN_15 / "postgres" else 0
        except (OSError, ValueError):
            return 0

    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.postmaster())
            return [postmaster, *postmaster.children()]
        return []

    def kill_postgres(self) -> None:
        """SIGKILL of every process of it, the postmaster first; returns when all are gone."""
        found = self.processes()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _gone, left = psutil.wait_procs(found, 60)
        assert not left, f"processes survive SIGKILL: {left}"

    def kill(self) -> None:
        """The whole machine: nothing of it is left."""
        self.kill_programs()
        self.kill_postgres()

    def stop_sending(self) -> None:
        """The processes that send WAL to the standby stop where they are, until they are killed."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if "walsender" in " ".join(process.cmdline()):
                    process.send_signal(signal.SIGSTOP)


class Pair:
    """Nodes `a` and `b`, and etcd on a third machine. The test itself is a fourth, `server`."""

    def __init__(self, folder: Path, hosts: Mapping[str, Host], separate: bool) -> None:
        self.folder = folder
        self.separate = separate
        self.server, self.etcd = hosts["server"], hosts["etcd"]
        a, b = hosts["a"], hosts["b"]
        assert isinstance(a, Node)
        assert isinstance(b, Node)
        self.nodes = (a, b)
        self.settings: dict[str, Any] = json.loads(json.dumps(DYNAMIC))
        self._cuts: list[tuple[Host, Host]] = []

    def url(self, database: str) -> str:
        """As superuser, at whichever node writes."""
        hosts = ",".join(f"{node.address}:{_PORT}" for node in self.nodes)
        return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"

    def start(self) -> None:
        """Returns when both nodes run and one is the other's standby."""
        at = self.etcd.address
        self.etcd.start(
            ["/usr/bin/etcd", "--name=etcd", f"--data-dir={self.folder / 'etcd'}"]
            + [f"--{kind}=http://{at}:{_ETCD}" for kind in ("listen-client-urls", "advertise-client-urls")]
            + [f"--{kind}=http://{at}:2380" for kind in ("listen-peer-urls", "initial-advertise-peer-urls")]
            + [f"--initial-cluster=etcd=http://{at}:2380"]
        )
        for node in self.nodes:
            node.configuration.write_text(json.dumps(self._configuration(node), indent=2))
            node.start_patroni()
        self.wait_until_whole()

    def configure(self, **settings: Any) -> None:
        """Change what is kept in etcd, and wait until both nodes live by it."""
        self.settings.update(settings)
        leader = self.primary()
        done = requests.patch(f"http://{leader.address}:{_REST}/config", json=settings, timeout=10)
        done.raise_for_status()
        self.wait_until_whole()

    @property
    def synchronous(self) -> bool:
        return bool(self.settings["synchronous_mode"])

    def primary(self) -> Node:
        """The one that Patroni calls so."""
        found: Node = _patiently("there is no primary", self._primary)
        return found

    def other(self, node: Node) -> Node:
        return self.nodes[node is self.nodes[0]]

    def revive(self) -> None:
        """The operating system starts what has died."""
        for node in self.nodes:
            if not node.programs:
                node.start_patroni()

    def wait_until_whole(self) -> None:
        """One primary, and the other one follows it as it should."""
        _patiently("the two nodes do not find together", self._is_whole)

    def cut(self, one: Host, other: Host) -> None:
        """What they send each other is lost from now on."""
        assert self.separate
        for sender, receiver in ((one, other), (other, one)):
            nobody = ["lladdr", "02:00:00:00:00:ff", "nud", "permanent"]
            self._neighbour(sender, "replace", receiver, *nobody)
        self._cuts.append((one, other))

    def mend(self) -> None:
        """Everybody reaches everybody."""
        for one, other in self._cuts:
            self._neighbour(one, "del", other)
            self._neighbour(other, "del", one)
        self._cuts.clear()

    def _neighbour(self, sender: Host, action: str, receiver: Host, *more: str) -> None:
        device = "eth0" if sender.prefix else _bridge(self.folder)
        _run([*sender.prefix, "ip", "neigh", action, receiver.address, *more, "dev", device])

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self.etcd.kill_programs()

    def _primary(self) -> Node | None:
        return next((node for node in self.nodes if node.says("primary")), None)

    def _is_whole(self) -> bool:
        primary = self._primary()
        if primary is None or not self.other(primary).says("sync" if self.synchronous else "asynchronous"):
            return False
        wanted = "sync" if self.synchronous else "async"
        try:
            with psycopg.connect(primary.url, connect_timeout=2) as connection:
                rows = connection.execute("select state, sync_state from pg_stat_replication").fetchall()
        except psycopg.Error:
            return False
        return rows == [("streaming", wanted)]

    def _configuration(self, node: Node) -> dict[str, Any]:
        home = self.folder / node.name
        people = {
            "superuser": {"username": "postgres"},
            "replication": {"username": "replicator"},
        }
        return {
            "scope": "pgbooking",
            "name": node.name,
            "restapi": {
                "listen": f"{node.address}:{_REST}",
                "connect_address": f"{node.address}:{_REST}",
            },
            "etcd3": {"host": f"{self.etcd.address}:{_ETCD}"},
            "bootstrap": {
                "dcs": self.settings,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}, "no-sync"],
                "pg_hba": ["host all all all trust", "host replication all all trust"],
            },
            "postgresql": {
                "listen": f"{node.address}:{_PORT}",
                "connect_address": f"{node.address}:{_PORT}",
                "data_dir": str(node.data),
                "bin_dir": str(DEBIAN_15),
                "pgpass": str(home / "pgpass"),
                "authentication": people,
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "parameters": {
                    "unix_socket_directories": "",
                    "dynamic_shared_memory_type": "mmap",  # goes with the folder, also after SIGKILL
                    "shared_buffers": "64MB",
                    "autovacuum": "off",
                    "jit": "off",
                    "cluster_name": node.name,
                },
            },
        }


@contextmanager
def running_pair(*, separate: bool, **changes: Any) -> Iterator[Pair]:
    """Both nodes, gone with their data afterwards. `separate`: in network namespaces; as root only.
    `changes`: of what is kept in etcd."""
    missing = [package for package, proof in PACKAGES.items() if not proof.exists()]
    if missing:
        raise RuntimeError(f"install {' '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="pgbooking-ha-", dir=_memory()))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_undertaker(folder))
        folder.chmod(0o755)
        hosts = stack.enter_context(_apart(folder) if separate else _on_loopback())
        for host in hosts.values():
            home = folder / host.name
            home.mkdir()
            host.log = home / "log"
            if isinstance(host, Node):
                host.data = home / "pg"
                host.configuration = home / "patroni.yml"
            if os.geteuid() == 0:
                shutil.chown(home, _ACCOUNT, _ACCOUNT)
        pair = Pair(folder, hosts, separate)
        pair.settings.update(changes)
        stack.callback(pair.close)
        pair.start()
        yield pair


def _hosts(network: str) -> dict[str, Host]:
    return {
        "server": Host("server", f"{network}.1"),
        "etcd": Host("etcd", f"{network}.2"),
        "a": Node("a", f"{network}.3"),
        "b": Node("b", f"{network}.4"),
    }


@contextmanager
def _on_loopback() -> Iterator[dict[str, Host]]:
    """All of 127.0.0.0/8 is ours: everybody has an address of his own, so the ports are free."""
    while True:
        network = f"127.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}"
        with socket.socket() as probe, suppress(OSError):
            probe.bind((f"{network}.2", _ETCD))
            break
    yield _hosts(network)


@contextmanager
def _apart(folder: Path) -> Iterator[dict[str, Host]]:
    """A network namespace for each machine but ours, on one bridge; addresses that benchmarks may use."""
    bridge = _bridge(folder)
    hosts = _hosts(f"198.18.{secrets.randbelow(256)}")
    with ExitStack() as stack:
        _run(["ip", "link", "add", bridge, "type", "bridge"])
        stack.callback(_run, ["ip", "link", "delete", bridge], check=False)
        _run(["ip", "address", "add", f"{hosts['server'].address}/24", "dev", bridge])
        _run(["ip", "link", "set", bridge, "up"])
        for host in (hosts["etcd"], hosts["a"], hosts["b"]):
            space = f"{bridge}-{host.name}"
            _run(["ip", "netns", "add", space])
            stack.callback(_run, ["ip", "netns", "delete", space], check=False)
            host.prefix = ("ip", "netns", "exec", space)
            ours = f"{bridge}{host.name[0]}"
            _run(["ip", "link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", space])
            _run(["ip", "link", "set", ours, "master", bridge, "up"])
            _run([*host.prefix, "ip", "address", "add", f"{host.address}/24", "dev", "eth0"])
            for device in ("lo", "eth0"):
                _run([*host.prefix, "ip", "link", "set", device, "up"])
        yield hosts


def _bridge(folder: Path) -> str:
    """A device has a name of 15 letters at most."""
    return f"ha{folder.name[-8:].replace('_', '0')}"


@contextmanager
def _undertaker(folder: Path) -> Iterator[None]:
    """Buries everything when our end of its pipe closes, as it does when we are killed."""
    script = (
        'cat >/dev/null; for p in /proc/[0-9]*; do [ "${p#/proc/}" = $$ ] || '
        ' case "$(tr "\\0" " " <"$p/cmdline" 2>/dev/null)" in *"$1"*) kill -KILL "${p#/proc/}";; esac; done;'
        ' sleep 1; rm -rf "$1"; ip netns list | grep -o "^$2[^ ]*" | xargs -r -n1 ip netns delete;'
        ' ip link delete "$2" 2>/dev/null'
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "undertaker", f"{folder}/", _bridge(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    ) as process:
        try:
            yield
        finally:
            process.kill()


def _as_account() -> list[str]:
    """As root: become somebody whom PostgreSQL does not refuse, after the way into the namespace."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam(_ACCOUNT)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def _patiently(otherwise: str, ask: Callable[[], Any], seconds: float = 180) -> Any:
    give_up = time.monotonic() + seconds
    while not (found := ask()):
        if time.monotonic() > give_up:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
    return found


def _run(command: list[str], *, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
