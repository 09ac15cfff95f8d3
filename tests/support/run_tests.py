#!/usr/bin/python3
"""Runs the test programs and scripts and closes with one line: N passed, N failed, N skipped.

usage: run_tests.py [--root DIR] [--build DIR] [--all] [--only TEXT] [layers|unit|conformance|analysis|mpi|e2e ...]

  layers       tests/support/layers.sh
  unit         tests/unit/test_*.c          cmocka programs: each case counts
  conformance  tests/conformance/*.c        likewise
  mpi          tests/mpi/*.c                once per rank count of the header line "ranks:"; exit 0 passed, 77 skipped
  analysis     tests/analysis/test_*.py     the Python package: exit 0 passed, 77 skipped (the reason is the last line printed)
  e2e          tests/e2e/test_*.sh, *.py    likewise

Header lines, in a comment among the first ten lines of the source or script:

  ranks: 1 2 3 4      with how many ranks to run (tests/mpi)
  timeout: 900        seconds; 300 if not said
  needs: WORD...      assets   PEFTSCALE_ASSETS names a directory with model weights and data
                      venv     build/venv has been made (deps.sh --venv)
                      oracle   build/oracle-venv has been made (deps.sh --oracle)
                      languages  R with rhdf5 and hdf5r, and Octave
                      mpich    MPICH beside Open MPI: mpicc.mpich and mpirun.mpich
                      slurm    a SLURM cluster can be started here (tests/slurm/slurm.py check)
                      browser  Chromium, its driver and Python's selenium
                      network  root  long
                      A test that needs anything runs with --all only.

Scripts run from the root of the project and are told by the environment: PEFTSCALE (the program), PEFTSCALE_BUILD, PEFTSCALE_MPIRUN (mpirun with its flags,
to be followed by -np N), PYTHON and, where they have been made, PEFTSCALE_VENV and PEFTSCALE_ORACLE (folders with bin/python3). Logs are kept in
BUILD/tests/log.
Exit code 1 if a test failed, and, with CI=true or PEFTSCALE_NO_SKIP=1, if one was skipped.
"""

import argparse
import functools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("layers", "unit", "conformance", "analysis", "mpi", "e2e")
NEEDS = {"assets", "venv", "oracle", "languages", "mpich", "slurm", "browser", "network", "root", "long"}
SLURM = Path(__file__).resolve().parents[1] / "slurm/slurm.py"
SKIPPED = 77
TAIL_LINES = 40
sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2] / "experiments/support"))

import launcher  # noqa: E402


@dataclass
class Test:
    name: str
    command: list
    source: Path
    cases: bool = False  # its cases are counted: a cmocka program, or a Python script (tap.py)
    timeout_s: float = 300
    needs: set = field(default_factory=set)
    problem: str = ""  # why it cannot be run at all


@dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skips: list = field(default_factory=list)  # reasons
    note: str = ""
    failures: list = field(default_factory=list)  # names of failed cases


def read_header(test):
    """The header lines of a test's source."""
    ranks = []
    with open(test.source, encoding="utf-8", errors="replace") as lines:
        for _, line in zip(range(10), lines):
            found = re.match(r"\s*(?:#|//|/?\*+)\s*(ranks|timeout|needs):\s*([\w ]+)", line)
            if not found:
                continue
            words = found[2].split()
            if found[1] == "ranks":
                ranks = [int(word) for word in words if word.isdigit()]
            elif found[1] == "timeout" and words and words[0].isdigit():
                test.timeout_s = float(words[0])
            elif found[1] == "needs":
                test.needs = set(words)
                if test.needs - NEEDS:
                    test.problem = f"unknown need: {' '.join(sorted(test.needs - NEEDS))} (known: {' '.join(sorted(NEEDS))})"
    return ranks


def find_programs(root, build, kind, pattern):
    """The test programs of tests/KIND, with those of their variants in double precision."""
    for source in sorted((root / "tests" / kind).glob(pattern)):
        stem = source.stem
        programs = []
        if not stem.endswith("_double"):
            programs.append((f"{kind}/{stem}", build / "tests" / kind / stem))
        if stem.endswith("_double"):
            programs.append((f"{kind}/{stem}", build / "double" / stem))
        elif kind == "conformance" and stem == "conformance":
            programs.append((f"{kind}/{stem}_double", build / "double" / f"{stem}_double"))
        for name, program in programs:
            test = Test(name, [str(program)], source, cases=True)
            ranks = read_header(test)
            if not program.exists() and not test.problem:
                test.problem = f"{program} has not been built"
            yield test, ranks


def find_tests(root, build, kinds, python, mpirun):
    tests = []
    for kind in KINDS:
        if kind not in kinds:
            continue
        if kind == "layers":
            script = root / "tests/support/layers.sh"
            if script.exists():
                tests.append(Test("layers", ["bash", str(script), str(root)], script))
        elif kind in ("unit", "conformance"):
            tests += [test for test, _ in find_programs(root, build, kind, "test_*.c" if kind == "unit" else "*.c")]
        elif kind == "mpi":
            for test, ranks in find_programs(root, build, kind, "*.c"):
                if not ranks and not test.problem:
                    test.problem = 'has no header line "ranks: ..."'
                for count in ranks or [0]:
                    tests.append(Test(f"{test.name} -np {count}", [*mpirun.split(), "-np", str(count), *test.command], test.source, False, test.timeout_s,
                                      test.needs, test.problem))
        else:
            for script in sorted([*(root / "tests" / kind).glob("test_*.sh"), *(root / "tests" / kind).glob("test_*.py")]):
                test = Test(f"{kind}/{script.name}", ["bash" if script.suffix == ".sh" else python, str(script)], script, script.suffix == ".py")
                read_header(test)
                tests.append(test)
    return tests


@functools.cache
def lack_of_slurm():
    done = subprocess.run([sys.executable, str(SLURM), "check"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return f"needs slurm: {(done.stdout + done.stderr).strip()}" if done.returncode else ""


@functools.cache
def lack_of_browser(python):
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if subprocess.run([python, "-c", "import selenium"], capture_output=True, stdin=subprocess.DEVNULL).returncode:
        absent.append("selenium")
    return f"needs browser: no {' and no '.join(absent)} (Debian: chromium, chromium-driver, python3-selenium)" if absent else ""


@functools.cache
def lack_of_languages():
    if not shutil.which("octave"):
        return "needs languages: no octave"
    tried = "for (name in c('rhdf5', 'hdf5r')) library(name, character.only = TRUE)"
    done = shutil.which("Rscript") and subprocess.run(["Rscript", "-e", tried], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    return "" if done else "needs languages: no R with rhdf5 and hdf5r (Debian: r-bioc-rhdf5, r-cran-hdf5r)"


def why_not(test, environment):
    """What this machine lacks for a test, or nothing."""
    if "assets" in test.needs and not Path(environment.get("PEFTSCALE_ASSETS") or "/nonexistent").is_dir():
        return "needs assets: PEFTSCALE_ASSETS does not name a directory"
    if "venv" in test.needs and "PEFTSCALE_VENV" not in environment:
        return "needs venv: build/venv has not been made (make venv)"
    if "oracle" in test.needs and "PEFTSCALE_ORACLE" not in environment:
        return "needs oracle: build/oracle-venv has not been made (make oracle)"
    if "languages" in test.needs and (lack := lack_of_languages()):
        return lack
    if "mpich" in test.needs and not (shutil.which("mpicc.mpich") and shutil.which("mpirun.mpich")):
        return "needs mpich: no mpicc.mpich and mpirun.mpich (Debian: libmpich-dev, mpich)"
    if "root" in test.needs and os.geteuid() != 0:
        return "needs root"
    return ("slurm" in test.needs and lack_of_slurm()) or ("browser" in test.needs and lack_of_browser(environment["PYTHON"])) or ""


def stop(process):
    """Ends a process and its children; asks first, because mpirun then ends its ranks on all hosts."""
    for number, patience_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def run_command(test, root, log, environment):
    """The exit code (None: out of time) and the output."""
    with open(log, "wb") as output:
        process = subprocess.Popen(test.command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            code = process.wait(test.timeout_s)
        except subprocess.TimeoutExpired:
            stop(process)
            code = None
        except BaseException:
            stop(process)
            raise
    return code, log.read_text(encoding="utf-8", errors="replace").splitlines()


def death(code):
    """How a process ended that did not end with 0."""
    if code is None:
        return "ran out of time"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def judge_cases(code, lines):
    """Counts the cases of cmocka's TAP output; None if there is none."""
    result = Result()
    planned = seen = 0
    before = ""
    for line in lines:
        plan = re.match(r"1\.\.(\d+)\s*$", line)
        case = re.match(r"(not ok|ok) (\d+)\b\s*(?:- )?(.*)", line)
        if plan:
            planned += int(plan[1])
        elif case:
            title = case[3].strip()
            if "# SKIP" in line:
                # What a case prints before it skips is its reason.
                result.skips.append(f"{title.split('# SKIP', 1)[1].strip()}: {before.lstrip('# ') or 'no reason given'}")
                seen += 1
            elif case[1] == "ok":
                result.passed += 1
                seen += 1
            else:
                result.failed += 1
                result.failures.append(title)
                # A broken group set-up is reported as case 0 and takes its cases with it.
                seen += 1 if case[2] != "0" else 0
        before = "" if plan or case else (line.strip() or before)
    if not planned and not seen and not result.failed:
        return None
    missing = planned - seen
    if missing > 0:
        result.failed += missing
        result.failures.append(f"{missing} of {planned} cases not reached: {death(code)}")
    elif code != 0 and not result.failed:
        result.failed += 1
        result.failures.append(f"{death(code)} though no case failed")
    return result


def judge(test, code, lines):
    result = judge_cases(code, lines) if test.cases else None
    if result:
        return result
    result = Result()
    if code == 0:
        result.passed = 1
    elif code == SKIPPED:
        spoken = [line.strip() for line in lines if line.strip()]
        # mpirun closes with a remark of its own, between dashes, on an exit code that is not 0.
        dashes = [number for number, line in enumerate(spoken) if line.startswith("-----")]
        spoken = spoken[:dashes[0]] if dashes and dashes[0] > 0 else spoken
        result.skips.append(spoken[-1] if spoken else "no reason given")
    else:
        result.failed = 1
        result.note = death(code) + (f" ({test.timeout_s:.0f} s)" if code is None else "")
    return result


def make_environment(root, build, python, mpirun):
    environment = dict(os.environ)
    environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                       CMOCKA_MESSAGE_OUTPUT="TAP", PYTHON=python, PEFTSCALE=str(build / "peftscale"), PEFTSCALE_BUILD=str(build), PEFTSCALE_MPIRUN=mpirun)
    # More ranks than cores: a waiting rank lets the others work.
    environment.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    # Open MPI leaves memory behind; its frames are only seen with the slow unwinder. Tests ask for too much memory on purpose.
    environment.setdefault("ASAN_OPTIONS", "fast_unwind_on_malloc=0:allocator_may_return_null=1")
    environment.setdefault("LSAN_OPTIONS", f"suppressions={root}/tests/support/lsan.supp:print_suppressions=0")
    environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    for name, venv in (("PEFTSCALE_VENV", root / "build/venv"), ("PEFTSCALE_ORACLE", root / "build/oracle-venv")):
        if (venv / "bin/python3").exists():
            environment.setdefault(name, str(venv))
    # A make that runs the tests must not steer a make inside them.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
        environment.pop(name, None)
    return environment


def main():
    # Whoever starts the tests in the background of a script ignores SIGINT, and all below would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="the project's folder")
    parser.add_argument("--build", type=Path, help="where it was built (default: ROOT/build)")
    parser.add_argument("--all", action="store_true", help="also what needs weights, network, root or much time")
    parser.add_argument("--only", metavar="TEXT", help="only tests whose name contains TEXT")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="of " + ", ".join(KINDS) + " (default: all)")
    options = parser.parse_args()
    unknown = set(options.kinds) - set(KINDS)
    if unknown:
        parser.error(f"no such kind of test: {' '.join(sorted(unknown))}")
    root = options.root.resolve()
    build = (options.build or root / "build").resolve()
    python = os.environ.get("PYTHON") or sys.executable
    mpirun = os.environ.get("PEFTSCALE_MPIRUN") or shlex.join(launcher.words(str(build / "peftscale")))
    logs = build / "tests/log"
    logs.mkdir(parents=True, exist_ok=True)
    environment = make_environment(root, build, python, mpirun)

    tests = find_tests(root, build, options.kinds or KINDS, python, mpirun)
    if options.only:
        tests = [test for test in tests if options.only in test.name]
    left_out = [test for test in tests if test.needs and not options.all and not test.problem]
    tests = [test for test in tests if test not in left_out]

    passed, failed, skips = 0, 0, []
    began = time.monotonic()
    interrupted = False
    for test in tests:
        log = logs / (re.sub(r"[^\w.]+", "_", test.name) + ".log")
        start = time.monotonic()
        lines = []
        reason = why_not(test, environment)
        try:
            if test.problem:
                result = Result(failed=1, note=test.problem)
            elif reason:
                result = Result(skips=[reason])
            else:
                result = judge(test, *(ran := run_command(test, root, log, environment)))
                lines = ran[1]
        except OSError as error:
            result = Result(failed=1, note=str(error))
        except KeyboardInterrupt:
            result, interrupted = Result(failed=1, note="interrupted"), True
        passed += result.passed
        failed += result.failed
        skips += [f"{test.name}: {reason}" for reason in result.skips]
        word = "FAIL" if result.failed else "ok" if result.passed else "skip"
        counts = [f"{number} {what}" for number, what in ((result.passed, "passed"), (result.failed, "failed"), (len(result.skips), "skipped")) if number]
        detail = ", ".join(counts) if test.cases and not test.problem else result.note
        print(f"{word:4}  {test.name:36} {time.monotonic() - start:7.2f} s  {detail}".rstrip(), flush=True)
        if result.failed:
            for case in result.failures:
                print(f"        {case}")
            for line in lines[-TAIL_LINES:]:
                print(f"      | {line}")
            if lines:
                print(f"      | (whole output: {log})", flush=True)
        if interrupted:
            break

    if left_out:
        print(f"\nNot run without --all (make test-all): {len(left_out)}")
        for test in left_out:
            print(f"      {test.name}: needs {' '.join(sorted(test.needs))}")
    if skips:
        print("\nSkipped:")
        for skip in skips:
            print(f"      {skip}")
    strict = os.environ.get("CI") == "true" or os.environ.get("PEFTSCALE_NO_SKIP") == "1"
    if strict and skips:
        print("\nA skipped test counts as a failure here (CI=true or PEFTSCALE_NO_SKIP=1).")
    if not tests:
        print("No test was run.")
    print(f"\n{time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed, {len(skips)} skipped", flush=True)
    return 130 if interrupted else int(failed > 0 or not tests or (strict and bool(skips)))


if __name__ == "__main__":
    sys.exit(main())
