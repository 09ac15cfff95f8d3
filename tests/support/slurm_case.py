"""Tests of batch scripts on a SLURM cluster of their own: one for each class, jobs from the project's scripts, with the program or with tests/slurm/standin.sh."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import slurm
from harness import PROGRAM, ROOT, Case, environment

STANDIN = os.path.join(ROOT, "tests/slurm/standin.sh")
JOBS = os.path.join(ROOT, "jobs")

# The script that imports this is skipped as a whole where SLURM cannot be started.
lack = slurm.find_lack()
if lack:
    print(f"skipped: {lack}")
    sys.exit(77)


@dataclass(frozen=True)
class Note:
    """What a rank of the stand-in wrote: "start" (text: its words), "signal" (name), "end" (exit status), or the name of a variable (value)."""
    event: str
    task: str
    rank: int
    restarts: int
    host: str
    seconds: float
    text: str


class SlurmCase(Case):
    NODES = 2
    ARRAY = slurm.ARRAY

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slurm = slurm.create(cls.NODES, array=cls.ARRAY, shared=[cls.folder.name])
        cls.addClassCleanup(cls.slurm.destroy)

    def submit(self, script, *words, options=(), program=PROGRAM, **changes):
        """Submits one of jobs/ from the class's folder, where its log will lie; returns the job's number. changes: of the environment."""
        told = environment({"PEFTSCALE": program, "PEFTSCALE_ROOT": ROOT, "PYTHON": sys.executable, **changes})
        return self.slurm.sbatch(*options, os.path.join(JOBS, script), *words, changes=told, directory=self.folder.name)

    def submit_standin(self, script, *words, log, options=(), **changes):
        return self.submit(script, *words, options=options, program=STANDIN, STANDIN_LOG=self.at(log), **changes)

    def notes(self, log, event=None):
        if not os.path.exists(self.at(log)):
            return []
        with open(self.at(log), encoding="utf-8") as lines:
            rows = (line.rstrip("\n").split("\t", 6) for line in lines)
            found = [Note(event, task, int(rank), int(restarts), host, float(seconds), text) for event, task, rank, restarts, host, seconds, text in rows]
        return [note for note in found if event in (None, note.event)]

    def said(self, job):
        """What a job, or all tasks of an array, printed."""
        logs = [path for end in ("", "_*") for path in sorted(Path(self.folder.name).glob(f"peftscale-*-{job}{end}.log"))]
        return "\n".join(path.read_text() for path in logs)

    def wait_for(self, job, condition, what):
        """As Slurm.wait_for; a job that never gets there shows what it printed."""
        try:
            return self.slurm.wait_for(job, condition, what)
        except slurm.Broken as broken:
            self.fail(f"{broken}\n{self.said(job)}")

    def wait_for_notes(self, job, log, event, count):
        self.wait_for(job, lambda _jobs: len(self.notes(log, event)) >= count, f"{count} times '{event}'")

    def check_ended(self, job, state, status=0):
        end = self.slurm.wait(job)
        self.assertEqual((end.state, end.status), (state, status), self.said(job))
