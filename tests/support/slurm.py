"""A real SLURM cluster on one machine: the controller, two or more nodes, and the programs that people submit jobs with. For tests, and by hand through
tests/slurm/slurm.py; what it is and is not: tests/slurm/README.md.

    with slurm.standing(2) as made:
        job = made.sbatch("--nodes=2", "--time=5", "--wrap", "srun hostname")
        print(made.wait(job))

The nodes are hosts of cluster.py, the switch between them is the login node. All daemons run in their network namespaces and all their files lie in the cluster's
folder, so what cluster.py does when a process ends, or was killed, removes SLURM too. Nothing in /etc/slurm, /etc/munge or /run/munge is read or written, and
ports are those of SLURM: the namespaces keep clusters apart.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cluster
from cluster import Broken, Unavailable

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests/slurm/node.sh"
CPUS = 4  # of a node, whatever the machine has
START_S = 60
PATIENCE_S = 180
# Programs, and Debian's package of each.
PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "srun": "slurm-client", "scontrol": "slurm-client"}
ENDS = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "PREEMPTED", "BOOT_FAIL"}
# What srun and sbatch read from a job that this process may itself be part of.
FOREIGN = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN|SCANCEL|SQUEUE|SINFO|SCONTROL|PMIX?)_")

# cgroups are not used: a container has none to give. cred_expire: also what a requeued job waits before it starts again (2 minutes, if not said). The scheduler
# looks at once, and often: jobs here take seconds. config_overrides: nodes have as many CPUs as is said.
CONFIGURATION = """ClusterName={tag}
SlurmctldHost={login}({address})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
MaxArraySize={array}
MinJobAge=3600
KillWait=10
ReturnToService=2
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
CGROUP = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n"
ARRAY = 1001  # tasks of an array have numbers below this: SLURM's own default


def find_lack():
    """What is missing for a SLURM cluster on this machine, in one line, or nothing."""
    lack = cluster.find_lack()
    if lack:
        return lack
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            return f"needs SLURM's {program} (Debian: {package})"
    # Any program of SLURM wants a configuration, even to say what it can do.
    with open_memory("ClusterName=trial\nSlurmctldHost=trial\nNodeName=trial\nPartitionName=trial Nodes=trial\n") as configuration:
        listed = subprocess.run(["srun", "--mpi=list"], capture_output=True, text=True, stdin=subprocess.DEVNULL, pass_fds=[configuration],
                                env={**os.environ, "SLURM_CONF": f"/proc/self/fd/{configuration}"})
    return "" if "pmix" in listed.stdout + listed.stderr else "needs a SLURM that starts MPI programs by PMIx (srun --mpi=pmix)"


@contextmanager
def open_memory(text):
    """The number of an open file without a name that holds the text."""
    file = os.memfd_create("text")
    try:
        os.write(file, text.encode())
        yield file
    finally:
        os.close(file)


@dataclass(frozen=True)
class Ended:
    """Of a job: SLURM's word, its exit status, and the signal that ended it (0: none)."""
    state: str
    status: int
    signal: int


class Slurm:
    """A cluster that stands. Raises Broken."""

    def __init__(self, tag):
        self.hosts = cluster.Cluster(tag)
        self.tag, self.login = tag, self.hosts.switch
        self.folder = self.hosts.folder / "slurm"
        self.configuration = self.folder / "slurm.conf"
        self.finished = self.folder / "finished.txt"
        self.daemons = []

    # -- making and removing --

    def build(self, array, shared):
        for name in ("log", "state", "spool"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "plugstack.conf").touch()
        key = os.open(self.folder / "munge.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        os.write(key, os.urandom(128))
        os.close(key)
        address = self.hosts.subnet[-2]
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 >> 20
        nodes = "\n".join(f"NodeName={host} NodeAddr={self.hosts.address(host)} CPUs={CPUS} RealMemory={memory_mb} State=UNKNOWN" for host in self.hosts.hosts)
        self.configuration.write_text(CONFIGURATION.format(tag=self.tag, login=self.login, address=address, folder=self.folder, array=array, nodes=nodes))
        (self.folder / "cgroup.conf").write_text(CGROUP)
        known = "".join(f"{self.hosts.address(host)} {host}\n" for host in self.hosts.hosts)
        (cluster.ETC / self.login).mkdir()
        (cluster.ETC / self.login / "hosts").write_text(f"127.0.0.1 localhost\n{address} {self.login}\n{known}")

        files = {f"--{name}-file": f"{self.folder}/{at}" for name, at in (("key", "munge.key"), ("pid", "munge.pid"), ("log", "log/munge.log"), ("seed", "munge.seed"))}
        # --force: the folder may lie where only root may look.
        self.start("munge", self.login, "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *(f"{name}={file}" for name, file in files.items()))
        self.wait_until("munge", lambda: (self.folder / "munge.socket").exists())
        self.start("slurmctld", self.login, "slurmctld", "-D")
        for host in self.hosts.hosts:
            self.start(host, host, str(NODE), *(str(folder) for folder in shared), "--", "slurmd", "-D", "-N", host)
        self.wait_until("slurmctld", lambda: self.node_states() == {host: "idle" for host in self.hosts.hosts})

    def start(self, name, host, *words):
        """A daemon. It has no terminal, and the usual answers to signals, whatever this process does with its own."""
        def forget_signals():
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
        with open(self.folder / "log" / f"{name}.out", "wb") as out:
            process = subprocess.Popen(self.enter(host, *words), cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                                       preexec_fn=forget_signals)
        self.daemons.append((name, process))

    def wait_until(self, name, condition):
        until = time.monotonic() + START_S
        while not condition():
            dead = next((name for name, process in self.daemons if process.poll() is not None), None)
            if dead or time.monotonic() > until:
                raise Broken(f"SLURM did not start: {dead or name}: {self.last_words(dead or name)}")
            time.sleep(0.05)

    def last_words(self, name):
        texts = [(self.folder / "log" / f"{name}.{end}") for end in ("log", "out")]
        return cluster.last_line("\n".join(file.read_text(errors="replace") for file in texts if file.exists()))

    def destroy(self):
        self.hosts.destroy()
        for _, process in self.daemons:
            process.wait()

    # -- commands --

    def enter(self, host, *words):
        """The words that run a command on a node or on the login node, with this cluster's SLURM and no other's."""
        foreign = [word for name in os.environ if FOREIGN.match(name) for word in ("-u", name)]
        return ["env", *foreign, f"SLURM_CONF={self.configuration}", *self.hosts.enter(host, *words)]

    def call(self, *words, changes=None, directory=ROOT):
        """Runs a command on the login node to its end, returns what it printed."""
        done = subprocess.run(self.enter(self.login, *(str(word) for word in words)), capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=directory,
                              env={**os.environ, **(changes or {})}, timeout=PATIENCE_S)
        if done.returncode:
            raise Broken(f"{words[0]}: {cluster.last_line(done.stderr)}")
        return done.stdout

    def sbatch(self, *words, changes=None, directory=ROOT):
        """Submits, returns the job's number as text. changes: of the environment that the job gets."""
        return self.call("sbatch", "--parsable", *words, changes=changes, directory=directory).strip()

    def node_states(self):
        try:
            return dict(line.split() for line in self.call("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines())
        except Broken:
            return {}

    # -- jobs --

    def jobs(self, job):
        """What `scontrol show job` knows: of a job one dictionary, of an array one for each task (those that wait may share one)."""
        return [parse(line) for line in self.call("scontrol", "--oneliner", "show", "job", job).splitlines() if line.strip()]

    def job(self, job):
        """Of one job, or of one task of an array ("12_3")."""
        found = self.jobs(job)
        if len(found) != 1:
            raise Broken(f"job {job} is {len(found)} jobs")
        return found[0]

    def wait_for(self, job, condition, what, patience_s=PATIENCE_S):
        """Until condition(jobs) is true; returns the jobs. Raises Broken when patience ends, or when they all have ended without it."""
        until = time.monotonic() + patience_s
        has_ended = False
        while not condition(found := self.jobs(job)):
            states = " ".join(each["JobState"] for each in found)
            if has_ended or time.monotonic() > until:
                raise Broken(f"job {job}: {what}: not {'before its end' if has_ended else f'within {patience_s} s'}: {states}")
            has_ended = all(each["JobState"] in ENDS for each in found)  # what it did last may be seen at the next look
            time.sleep(0.1)
        return found

    def wait_all(self, job, patience_s=PATIENCE_S):
        """Waits for the end of a job or of all tasks of an array: {number of the task, or None: Ended}."""
        found = self.wait_for(job, lambda jobs: all(each["JobState"] in ENDS for each in jobs), "its end", patience_s)
        return {int(each["ArrayTaskId"]) if "ArrayTaskId" in each else None: ended(each) for each in found}

    def wait(self, job, patience_s=PATIENCE_S):
        """Waits for the end of one job, or of one task."""
        (end,) = self.wait_all(job, patience_s).values()
        return end


def parse(line):
    """Of one line of `scontrol show`: Name=value Name=value ... where values may hold spaces."""
    parts = re.split(r"(?:^| +)([A-Z][\w:/]*)=", line.strip())
    return dict(zip(parts[1::2], parts[2::2]))


def ended(job):
    status, number = job["ExitCode"].split(":")
    return Ended(job["JobState"], int(status), int(number))


def tags():
    return [tag for tag in cluster.tags() if (cluster.STATES / tag / "slurm/slurm.conf").exists()]


def create(count=2, array=ARRAY, shared=(), owner=None):
    """A new cluster of that many nodes; owner: as with cluster.create. The nodes see the machine's files but for /tmp, where they see only this project, the
    directory of this process, PEFTSCALE_ASSETS and the folders `shared`. Raises Unavailable, Broken."""
    lack = find_lack()
    if lack:
        raise Unavailable(lack)
    assets = os.environ.get("PEFTSCALE_ASSETS")
    with cluster.uninterrupted():
        made = Slurm(cluster.create(count, owner=owner).tag)
        try:
            made.build(array, [ROOT, os.getcwd(), *([assets] if assets and Path(assets).is_dir() else []), *shared])
        except BaseException:
            made.destroy()
            raise
    return made


@contextmanager
def standing(count=2, **how):
    """A cluster for the length of a `with`."""
    made = create(count, **how)
    try:
        yield made
    finally:
        made.destroy()
