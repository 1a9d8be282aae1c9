# SPDX-License-Identifier: Apache-2.0
"""Counts single tests in meson's log: TAP, cmocka and unittest programs hold many each. For tools/test.

count_tests.py TESTLOG INTRO LOG ARGUMENT...   prints "failed NAME", "skipped NAME: REASON" lines and "counts P F S".
"""

import json
import re
import sys


def inside(stdout, stderr):
    """(passed names, failed names, skipped (name, reason)) of one test program, as far as it tells."""
    good, bad, skipped = [], [], []
    for line in stdout.splitlines():
        m = re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*)", line)
        if not m:
            continue
        name, _, rest = m[2].partition(" # ")
        if rest.upper().startswith("SKIP"):
            skipped.append((name, rest[4:].strip() or "no reason given"))
        else:
            (bad if m[1] else good).append(name)
    m = re.match(r"1\.\.0\s*# SKIP\s*(.*)", stdout, re.M)
    if m:
        skipped.append(("all", m[1]))
    both = stdout + "\n" + stderr
    for mark, where in (("       OK ", good), ("  FAILED  ", bad), ("  SKIPPED ", None)):
        names = list(dict.fromkeys(re.findall(rf"^\[{mark}\] (\w+)(?::|$)", both, re.M)))
        if where is None:
            skipped += [(n, "told by the program") for n in names]
        else:
            where += names
    m = re.findall(r"^Ran (\d+) tests? in", both, re.M)
    if m:
        wrong = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", both)))
        left_out = sum(map(int, re.findall(r"skipped=(\d+)", both)))
        good += ["unittest"] * (sum(map(int, m)) - wrong - left_out)
        bad += re.findall(r"^(?:FAIL|ERROR): (\S+)", both, re.M) or ["unittest"] * wrong
        skipped += [("unittest", "told by the program")] * left_out
    return good, bad, skipped


def main():
    passed = failed = left_out = 0
    seen = set()
    with open(sys.argv[1], encoding="utf-8") as f:
        for line in f:
            test = json.loads(line)
            name = test["name"].split(" / ")[-1]
            seen.add(name)
            good, bad, skipped = inside(test.get("stdout") or "", test.get("stderr") or "")
            result = test["result"]
            if result in ("FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS") and not bad:
                bad = [f"ended with {result} (status {test.get('returncode')})"]
            if result == "SKIP" and not skipped:
                skipped = [("all", "the program says that it cannot run here (77)")]
            if not good and not bad and not skipped:
                good = ["one program"]
            passed, failed, left_out = passed + len(good), failed + len(bad), left_out + len(skipped)
            for what in bad:
                print(f"failed {name}: {what}")
                tell(test)
            for what, why in skipped:
                print(f"skipped {name}: {what}: {why}")
    if not seen:
        failed += 1
        print("failed no test ran")
    print(f"counts {passed} {failed} {left_out}")


def tell(test):
    """The lines of a failed program that say why."""
    out = (test.get("stdout") or "").splitlines()
    err = (test.get("stderr") or "").splitlines()
    for line in ([x for x in out if x.startswith("#") and not re.fullmatch(r"#\s+[\d.]+ s", x)] + err)[-40:]:
        print("  | " + line[:200])


if __name__ == "__main__":
    main()
