"""unittest with one line per test for the runner: under CMOCKA_MESSAGE_OUTPUT=TAP the cases of a script are counted like those of a C program, and a skip
gives its reason. By hand the usual output appears."""

import os
import sys
import unittest


class Result(unittest.TextTestResult):
    """Sub-tests count with their test: one that fails makes it fail, one that is skipped makes it skipped."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.states = {}

    def note(self, test, state, reason=""):
        name = getattr(test, "test_case", test).id().removeprefix("__main__.")
        rank = {"ok": 0, "skip": 1, "not ok": 2}
        if rank[state] >= rank[self.states.get(name, ("ok", ""))[0]]:
            self.states[name] = (state, reason)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "ok")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skip", reason)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "not ok")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "not ok")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        self.note(test, "not ok" if error else "ok")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "not ok")


def main():
    program = unittest.main(testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2 if "-v" in sys.argv else 1), exit=False)
    result = program.result
    if os.environ.get("CMOCKA_MESSAGE_OUTPUT") == "TAP":
        sys.stderr.flush()
        print(f"1..{len(result.states)}")
        for number, (name, (state, reason)) in enumerate(result.states.items(), 1):
            if state == "skip":
                print(f"# {reason}\nok {number} # SKIP {name}")  # cmocka's form
            else:
                print(f"{state} {number} - {name}")
    sys.exit(not result.wasSuccessful())
