#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every real message, element for element, by Millrace's parser and by python3-hl7.

parser_corpus.py [FOLDER]      default: MILLRACE_CORPUS, else the folder shared/data beside the checkout

Messages come out of the files through `millrace hl7 format`, so that both parsers see the same bytes. What differs is
counted by reason; a reason that is not in EXPECTED fails the test. No value is ever printed. Exit 77: no such folder.
"""

import codecs
import json
import os
import pathlib
import re
import subprocess
import sys

try:
    import hl7
except ImportError:
    print("SKIP: python3-hl7 is not installed")
    sys.exit(77)

# Why the two may differ, with what is right.
EXPECTED = {
    "python3-hl7 strips white space": "it strips the message and its lines; the bytes belong to the last field",
}

PATH = re.compile(r"([A-Z][A-Z0-9]{2})(?:\((\d+)\))?-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?$")


def latin_1_rest(error):
    return error.object[error.start : error.start + 1].decode("latin-1"), error.start + 1


codecs.register_error("latin_1_rest", latin_1_rest)


def ours(line):
    """(segment, sequence, field, repetition, component, sub-component) -> value, as `hl7 parse --json` has it"""
    got = {}
    for key, value in json.loads(line, object_pairs_hook=list):
        m = PATH.match(key)
        if m:  # else a line that is no segment
            name, *numbers = m.groups()
            got[(name, *(int(n or 1) for n in numbers))] = value
    return got


def theirs(text):
    got, seen = {}, {}
    for segment in hl7.parse(text):
        name = str(segment[0])
        if not re.fullmatch("[A-Z][A-Z0-9]{2}", name):
            continue
        seen[name] = seen.get(name, 0) + 1
        for f, field in enumerate(segment[1:], 1):
            if name in ("MSH", "FHS", "BHS") and f <= 2:
                got[(name, seen[name], f, 1, 1, 1)] = str(field)
                continue
            for r, repetition in enumerate(field, 1):
                components = repetition if isinstance(repetition, list) else [repetition]
                for c, component in enumerate(components, 1):
                    subs = component if isinstance(component, list) else [component]
                    for s, sub in enumerate(subs, 1):
                        if str(sub):
                            got[(name, seen[name], f, r, c, s)] = str(sub)
    return got


def reason(mine, other):
    stripped = {k: v.strip() for k, v in mine.items()}
    if {k: v for k, v in stripped.items() if v} == {k: v.strip() for k, v in other.items() if v.strip()}:
        return "python3-hl7 strips white space"
    return "unexplained"


def run(millrace, *args):
    done = subprocess.run([millrace, "hl7", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return done.stdout, done.stderr.decode(errors="replace").splitlines()


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(
        sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MILLRACE_CORPUS", here.parent / "shared/data")
    )
    if not folder.is_dir():
        print(f"SKIP: no folder of real messages at MILLRACE_CORPUS ({folder.name})")
        return 77
    millrace = pathlib.Path(os.environ.get("MILLRACE_BUILD", here / "build")) / "tools/millrace"
    counts, unread, equal, elements, unexplained = {}, {}, 0, 0, []
    files = sorted(p for sub in ("messages", "mpl/messages") for p in (folder / sub).rglob("*") if p.is_file())
    for path in files:
        framed, problems = run(millrace, "format", "--mllp", str(path))
        for problem in problems:
            unread[problem.rsplit(": ", 1)[-1]] = unread.get(problem.rsplit(": ", 1)[-1], 0) + 1
        messages = [m for m in framed.split(b"\x1c\r") if m]
        lines = run(millrace, "parse", "--json", str(path))[0].decode().splitlines()
        if len(lines) != len(messages):
            unexplained.append(f"{path.name}: {len(messages)} messages, {len(lines)} parsed")
        for number, (raw, line) in enumerate(zip(messages, lines), 1):
            text = raw.lstrip(b"\x0b").decode("utf-8", errors="latin_1_rest")
            mine = ours(line)
            try:
                other = theirs(text)
            except Exception:  # whatever it raises, it cannot read the message
                why = "python3-hl7 cannot read it"
            else:
                if mine == other:
                    equal += 1
                    elements += len(mine)
                    continue
                why = reason(mine, other)
            counts[why] = counts.get(why, 0) + 1
            if why not in EXPECTED:
                keys = [k for k in sorted(set(mine) | set(other)) if mine.get(k) != other.get(k)]
                unexplained.append(f"{path.name}, message {number}: {len(keys)} elements, the first {keys[0]}")
    print(f"{len(files)} files: {equal} messages equal in all of their {elements} elements")
    for why, n in sorted(counts.items()):
        print(f"{n:6} {why}: {EXPECTED.get(why, '?')}")
    for why, n in sorted(unread.items()):
        print(f"{n:6} not read by Millrace: {why}")
    for line in unexplained:
        print("UNEXPLAINED", line)
    return 1 if unexplained or not equal else 0


if __name__ == "__main__":
    sys.exit(main())
