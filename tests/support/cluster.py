"""Several hosts on one machine: network namespaces around a switch, each with an Ethernet link of a chosen speed. For tests, and for studies through
tests/cluster/hosts.py; what a host is and is not: tests/cluster/README.md.

    with cluster.standing(3, rate="100mbit") as hosts:
        subprocess.run(hosts.mpirun("-np", "3", "hostname"))

All that exists of a cluster lies in namespaces named after its tag, in /etc/netns and in one folder below STATES, which is written first and removed last: what
a killed process left behind is found by it (remove_orphans), and nothing else is ever touched. Linux and root only.
"""

import atexit
import fcntl
import ipaddress
import json
import os
import random
import re
import shlex
import shutil
import signal
import string
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATES = Path("/run/peftscale-cluster")
NAMESPACES = Path("/run/netns")
ETC = Path("/etc/netns")
ENTER = Path(__file__).resolve().parents[1] / "cluster" / "enter.sh"
FEWEST, MOST = 2, 8
LINK = "eth0"
UNSHAPED = "unshaped"
RATE = re.compile(r"([1-9][0-9]{0,8})(kbit|mbit|gbit)")
FRAME_BYTES = 1514  # an Ethernet frame
LARGEST_PACKET_S = 64e-6  # at the link's rate
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
# A dead link is noticed after some seconds, not after Linux's quarter of an hour: by the kernel (data that nobody acknowledges) and by Open MPI's daemons.
RETRIES = 5
KEEPALIVE = {"oob_tcp_keepalive_time": 4, "oob_tcp_keepalive_intvl": 2, "oob_tcp_keepalive_probes": 3}
# Open MPI asks the receiver before it sends more than 64 kB, and the answer queues behind what the receiver itself is sending: on slow links the two directions of an
# exchange may then go one after the other. With 2 hosts at 10 to 50 Mbit/s MPI's sums took up to twice the time of their bytes, full fine-tuning's buckets 1.3 to 1.7
# times; with messages up to 8 MB sent unasked these took 1.1 times.
EAGER_BYTES = 8 << 20
TUNING = {"pml": "ob1", "btl_tcp_flags": "send", "btl_tcp_eager_limit": EAGER_BYTES, "btl_tcp_rndv_eager_limit": EAGER_BYTES, "btl_tcp_max_send_size": EAGER_BYTES,
          "btl_tcp_sndbuf": 131072}


class Unavailable(Exception):
    """What this machine lacks, in one line."""


class Broken(Exception):
    """What failed, in one line."""


# Administrators' programs may not be on the path of a shell that su made.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


# ---- what the machine can do ----

# Everything that a cluster asks of the kernel, tried in namespaces that end with the shell (/run, too, is then another). Each line: what it is, tab, how to try it.
TRIALS = """network bridges\tip link add trial type bridge
pairs of virtual Ethernet links\tip link add one type veth peer name two
the htb queueing discipline\ttc qdisc add dev one root handle 1: htb default 1
the pfifo queueing discipline\ttc qdisc add dev two root pfifo limit 10
host names of its own\thostname trial
mounts of its own\tmount --bind /etc /etc
named network namespaces\tmount -t tmpfs none /run && ip netns add trial"""


def find_lack():
    """What is missing for a cluster on this machine, in one line, or nothing."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("unshare", "util-linux"), ("mount", "mount"), ("hostname", "hostname")):
        if not shutil.which(program):
            return f"needs {program} (Debian: {package})"
    script = "".join(f"{test} 2>/dev/null || {{ echo {shlex.quote(what)}; exit 0; }}\n" for what, test in (line.split("\t") for line in TRIALS.splitlines()))
    done = subprocess.run(["unshare", "--net", "--uts", "--mount", "bash", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        return f"needs network namespaces, which this system does not allow ({last_line(done.stderr)})"
    return f"needs {done.stdout.strip()}, which this system does not allow" if done.stdout.strip() else ""


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def run(*words, ignore=False):
    """Runs a tool to its end, returns what it printed. Raises Broken."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode and not ignore:
        raise Broken(f"{' '.join(str(word) for word in words)}: {last_line(done.stderr)}")
    return done.stdout


def bits_per_second(rate):
    """Of "100mbit" and the like. Raises Broken."""
    found = RATE.fullmatch(rate)
    if not found:
        raise Broken(f"'{rate}' is no rate: {UNSHAPED}, or for example 1gbit, 100mbit, 10mbit")
    return int(found[1]) * {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}[found[2]]


# ---- owners ----

def started(pid):
    """When a process began, in the kernel's ticks: with its number it names a process for good, until the next boot."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def boot():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def describe_owner(pid):
    return {"pid": pid, "started": started(pid), "boot": boot()}


def is_alive(owner):
    """Nobody (pid 0) never ends: such a cluster stands until it is taken down, or until the machine is started anew."""
    return owner["boot"] == boot() and (owner["pid"] == 0 or (owner["started"] is not None and started(owner["pid"]) == owner["started"]))


@contextmanager
def uninterrupted():
    """Signals that would end this process wait until the block is done: a cluster is made, or removed, wholly."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def locked():
    """One process at a time makes or removes clusters: names and addresses are taken by looking which are free."""
    STATES.mkdir(parents=True, exist_ok=True)
    with open(STATES / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- counters ----

@dataclass(frozen=True)
class Counters:
    """Of one host: its link, and how many TCP segments it sent again."""
    tx_bytes: int
    tx_packets: int
    rx_bytes: int
    rx_packets: int
    retransmits: int

    def __sub__(self, before):
        return Counters(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))


# ---- clusters ----

class Cluster:
    """One that stands. hosts: their names, which are those of their namespaces, too."""

    def __init__(self, tag):
        try:
            state = json.loads((STATES / tag / "state").read_text())
        except OSError:
            raise Broken(f"there is no cluster '{tag}'") from None
        self.tag, self.owner = tag, state["owner"]
        self.folder = STATES / tag
        self.subnet = ipaddress.ip_network(state["subnet"])
        self.switch = f"ps{tag}sw"
        self.hosts = [f"ps{tag}{number}" for number in range(1, state["count"] + 1)]

    def address(self, host):
        return str(self.subnet[self.hosts.index(host) + 1])

    # -- making and removing --

    def build(self):
        for name in (self.switch, *self.hosts):
            run("ip", "netns", "add", name)
            # Silence on the links but for what is measured: no IPv6 announcements. reno and no memory of former connections: each run starts alike.
            run("ip", "netns", "exec", name, "bash", "-c", f"""cd /proc/sys/net
                [ ! -e ipv6/conf/all/disable_ipv6 ] || echo 1 >ipv6/conf/all/disable_ipv6
                echo reno >ipv4/tcp_congestion_control; echo 1 >ipv4/tcp_no_metrics_save; echo {RETRIES} >ipv4/tcp_retries2""")
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.switch, "link", "add", "switch", "type", "bridge")
        run("ip", "-n", self.switch, "addr", "add", f"{self.subnet[-2]}/{self.subnet.prefixlen}", "dev", "switch")
        run("ip", "-n", self.switch, "link", "set", "switch", "up")
        known = "".join(f"{self.address(host)} {host}\n" for host in self.hosts)
        for number, host in enumerate(self.hosts, 1):
            run("ip", "-n", self.switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", LINK, "netns", host)
            run("ip", "-n", self.switch, "link", "set", f"port{number}", "master", "switch", "up")
            run("ip", "-n", host, "addr", "add", f"{self.address(host)}/{self.subnet.prefixlen}", "dev", LINK)
            run("ip", "-n", host, "link", "set", LINK, "up")
            (ETC / host).mkdir(parents=True)
            (ETC / host / "hosts").write_text(f"127.0.0.1 localhost\n{known}{self.subnet[-2]} {self.switch}\n")
            (ETC / host / "hostname").write_text(f"{host}\n")
        (self.folder / "mounts").mkdir()
        (self.folder / "tmp").mkdir()

    def members(self, *hosts):
        """The processes on the given hosts (all): none has entered these namespaces but through this cluster."""
        spaces = set()
        for name in hosts or (self.switch, *self.hosts):
            try:
                found = (NAMESPACES / name).stat()
                spaces.add((found.st_dev, found.st_ino))
            except OSError:
                pass
        pids = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                found = (entry / "ns/net").stat()
            except OSError:
                continue
            if (found.st_dev, found.st_ino) in spaces and int(entry.name) != os.getpid():
                pids.append(int(entry.name))
        return pids

    def end_members(self, patience_s=2):
        """Asks first: mpirun then removes what it left in temporary folders."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.members():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            until = time.monotonic() + patience_s
            while self.members() and time.monotonic() < until:
                time.sleep(0.02)

    def remove(self):
        """Whatever of it there is."""
        self.end_members()
        for name in (*self.hosts, self.switch):
            run("ip", "netns", "del", name, ignore=True)
            shutil.rmtree(ETC / name, ignore_errors=True)
        left = [name for name in (*self.hosts, self.switch) if (NAMESPACES / name).exists()]
        if left:
            raise Broken(f"cluster {self.tag}: namespaces that cannot be removed: {' '.join(left)}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def destroy(self):
        with uninterrupted(), locked():
            if (self.folder / "state").exists():
                self.remove()
        own.pop(self.tag, None)

    # -- links --

    def set_rate(self, rate):
        """Shapes what every host sends: "unshaped", or a number with kbit, mbit or gbit.

        A shaper lets one packet through at once and makes the next one wait, and Linux hands it packets of up to 64 kB: small messages would go at no cost. So
        a packet is limited to what takes 64 us, or to one frame (up to some 200 Mbit/s), and the shaper's burst to one packet."""
        frames = 1
        if rate != UNSHAPED:
            frames = max(1, int(bits_per_second(rate) * LARGEST_PACKET_S / 8 / FRAME_BYTES))
        burst = f"{frames * FRAME_BYTES}b"
        for host in self.hosts:
            run("tc", "-n", host, "qdisc", "del", "dev", LINK, "root", ignore=True)  # an unshaped one has none
            run("ip", "-n", host, "link", "set", LINK, "gso_max_segs", frames if rate != UNSHAPED else 65535)
            if rate == UNSHAPED:
                continue
            # htb's own queue would drop: a plain one below it, longer than any window, does not.
            run("tc", "-n", host, "qdisc", "add", "dev", LINK, "root", "handle", "1:", "htb", "default", "1", "r2q", "1000")
            run("tc", "-n", host, "class", "add", "dev", LINK, "parent", "1:", "classid", "1:1", "htb", "rate", rate, "burst", burst, "cburst", burst, "quantum",
                "60000")
            run("tc", "-n", host, "qdisc", "add", "dev", LINK, "parent", "1:1", "pfifo", "limit", "4000")

    def set_link(self, host, up):
        """As if its cable were pulled at the switch, or put back."""
        run("ip", "-n", self.switch, "link", "set", f"port{self.hosts.index(host) + 1}", "up" if up else "down")

    def counters(self):
        """{host: Counters}"""
        result = {}
        for host in self.hosts:
            rows = run("ip", "netns", "exec", host, "cat", *(f"/sys/class/net/{LINK}/statistics/{name}" for name in ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets")),
                       "/proc/net/snmp").splitlines()
            names, values = (row.split() for row in rows if row.startswith("Tcp:"))
            result[host] = Counters(*(int(row) for row in rows[:4]), int(values[names.index("RetransSegs")]))
        return result

    # -- programs --

    def mount(self, host, file, place):
        """From now on commands on this host find file (or folder) at place, which must exist on the machine. No other host sees it."""
        with open(self.folder / "mounts" / host, "a") as mounts:
            mounts.write(f"{os.path.abspath(file)}\t{os.path.abspath(place)}\n")

    def unmount(self, host):
        (self.folder / "mounts" / host).unlink(missing_ok=True)

    def enter(self, host, *words):
        """The words that run a command on a host, as one process that is the command itself."""
        return ["env", f"CLUSTER_MOUNTS={self.folder / 'mounts'}", str(ENTER), host, shlex.join(["exec", *words])]

    def mpirun(self, *words, slots=1):
        """The words that run mpirun on the first host, across all. slots: ranks per host; words: mpirun's own and the program's. TUNING gives way to them, and to
        the environment (OMPI_MCA_...)."""
        file = self.folder / f"hosts.{slots}"
        file.write_text("".join(f"{host} slots={slots}\n" for host in self.hosts))
        settings = {"plm_rsh_agent": ENTER, "btl": "tcp,self,vader", "btl_tcp_if_include": self.subnet, "oob_tcp_if_include": self.subnet,
                    "orte_tmpdir_base": self.folder / "tmp", **KEEPALIVE,
                    **{name: value for name, value in TUNING.items() if name not in words and f"OMPI_MCA_{name}" not in os.environ}}
        flags = [word for name, value in settings.items() for word in ("--mca", name, str(value))]
        return self.enter(self.hosts[0], "mpirun", "--hostfile", str(file), "--bind-to", "none", "--oversubscribe", *flags, *words)


own = {}  # clusters of this process, by tag


def remove_own():
    for made in list(own.values()):
        made.destroy()


def end(number, _frame):
    remove_own()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def tags():
    return sorted(path.parent.name for path in STATES.glob("*/state"))


def read_states():
    """All clusters whose state can be read; one of a process that was killed while writing it has made nothing yet."""
    found = []
    for tag in tags():
        try:
            found.append(Cluster(tag))
        except (Broken, ValueError, KeyError):
            shutil.rmtree(STATES / tag, ignore_errors=True)
    return found


def reserve(count, owner):
    """A name and an address range that nobody has."""
    taken = [made.subnet for made in read_states()]
    routes = [ipaddress.ip_network(row["dst"]) for row in json.loads(run("ip", "-json", "route", "show")) if row["dst"] != "default"]
    for _ in range(1000):
        tag = "".join(random.choices(string.ascii_lowercase, k=5))  # letters alone: the hosts' numbers follow
        subnet = ipaddress.ip_network(f"10.{random.randrange(64, 128)}.{random.randrange(256)}.0/24")
        if any(subnet.overlaps(other) for other in taken + routes) or any(NAMESPACES.glob(f"ps{tag}*")) or (STATES / tag).exists():
            continue
        (STATES / tag).mkdir()
        (STATES / tag / "state").write_text(json.dumps({"count": count, "subnet": str(subnet), "owner": owner}))
        return Cluster(tag)
    raise Broken("no free name and address range were found")


def create(count, rate=UNSHAPED, owner=None):
    """A new cluster. owner: a process number; when that process is gone the cluster may be removed by anyone (0: nobody, it stands until it is taken down);
    None: this process, which then takes it down at its own end. Raises Unavailable, Broken."""
    if not FEWEST <= count <= MOST:
        raise Broken(f"{count} hosts: must be {FEWEST} to {MOST}")
    lack = find_lack()
    if lack:
        raise Unavailable(lack)
    with uninterrupted():
        with locked():
            remove_orphans()
            made = reserve(count, describe_owner(os.getpid() if owner is None else owner))
            try:
                made.build()
                made.set_rate(rate)
            except BaseException:
                made.remove()
                raise
        if owner is None:
            if not own:
                atexit.register(remove_own)
                for number in (signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, end)
            own[made.tag] = made
    return made


def remove_orphans():
    """Removes clusters whose owner is gone; the lock is held. Returns their tags."""
    gone = [made for made in read_states() if not is_alive(made.owner)]
    for made in gone:
        made.remove()
    return [made.tag for made in gone]


def clean():
    with uninterrupted(), locked():
        return remove_orphans()


@contextmanager
def standing(count, rate=UNSHAPED):
    """A cluster for the length of a `with`."""
    made = create(count, rate)
    try:
        yield made
    finally:
        made.destroy()
