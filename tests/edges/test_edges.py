# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can check: includes, opening comments, lengths, no paths of one machine."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from millrace_test import ROOT, expect, main, scenario  # noqa: E402

CODE = ["parser", "dataplane", "control", "tools", "tests", "bench"]

# What a folder's files may include besides the system's headers and their own folder. "dataplane/abi" opens only that.
EDGES = {
    "parser": [],
    "dataplane": ["parser"],
    "control": ["parser", "dataplane/abi"],
    "tools": ["parser", "dataplane/abi"],
    "tests": CODE,
    "bench": CODE,
}
LINES_MAX = 800
NOT_OURS = {".git", ".ci", "node_modules", "__pycache__", "docs"}


def tracked(*suffixes):
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if any(p in NOT_OURS or p.startswith("build") for p in parts[:-1]):
            continue
        if path.is_file() and (not suffixes or path.suffix in suffixes):
            yield path


def sources(*suffixes):
    return [p for p in tracked(*suffixes) if p.relative_to(ROOT).parts[0] in CODE]


def headers():
    """Every header of ours by its file name, and the folders it lies in."""
    where = {}
    for path in sources(".h", ".def"):
        where.setdefault(path.name, []).append(path.relative_to(ROOT).parent.as_posix())
    return where


def may(user, folder):
    allowed = EDGES[user]
    return (
        folder == user
        or folder.startswith(user + "/")
        or any(folder == a or folder.startswith(a + "/") for a in allowed)
    )


@scenario("include edges: parser -> nothing, dataplane -> parser, control and tools -> parser and dataplane/abi")
def include_edges():
    where = headers()
    bad = []
    seen = 0
    for path in sources(".c", ".h", ".cc"):
        user = path.relative_to(ROOT).parts[0]
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            seen += 1
            name = m[1].rsplit("/", 1)[-1]
            folders = where.get(name)
            if folders is None:
                continue  # made by the build, or a library's
            if "/" in m[1]:
                fitting = [f for f in folders if (f + "/" + name).endswith(m[1].replace("../", ""))]
                folders = fitting or folders
            if not any(may(user, f) for f in folders):
                bad.append(f"{path.relative_to(ROOT)}:{number}: {user} must not include {m[1]} ({folders[0]})")
    expect(seen > 50, f"only {seen} includes were found: the check looks at the wrong place")
    expect(not bad, "\n".join(bad))


@scenario("every .c opens with a comment that says what it is")
def opening_comments():
    bad = []
    found = sources(".c", ".cc")
    for path in found:
        text = path.read_text(errors="replace").lstrip()
        m = re.match(r"(?:/\*.*?\*/\s*|//[^\n]*\n\s*)+", text, re.S)
        words = re.sub(r"SPDX-License-Identifier: \S+", "", m[0] if m else "")
        if len(re.findall(r"[A-Za-z]{2,}", words)) < 6:
            bad.append(
                f"{path.relative_to(ROOT)}: no opening comment (what it does, who calls it, what it must never do)"
            )
    expect(len(found) > 10, "no sources were found")
    expect(not bad, "\n".join(bad))


@scenario(f"no source file is longer than {LINES_MAX} lines")
def lengths():
    bad = []
    for path in sources(".c", ".h", ".cc", ".py", ".def"):
        lines = path.read_bytes().count(b"\n")
        if lines > LINES_MAX:
            bad.append(f"{path.relative_to(ROOT)}: {lines} lines")
    expect(not bad, "\n".join(bad))


@scenario("sources carry their licence")
def licences():
    bad = [
        str(p.relative_to(ROOT))
        for p in sources(".c", ".h", ".cc", ".py")
        if "SPDX-License-Identifier: Apache-2.0" not in p.read_text(errors="replace")[:300]
    ]
    expect(not bad, "without SPDX line: " + ", ".join(bad))


@scenario("no file names a path of one machine; build and tool files name no address to download from")
def machine_paths():
    """Names of home and work folders have no place in a project that others check out elsewhere."""
    # In pieces, so that this file does not find itself. Tests may make up homes of people who do not exist.
    homes = re.compile(r"(?<![\w.])(?:/ro" + r"ot|/wo" + "rk|" + re.escape(str(pathlib.Path.home())) + r")/[\w.-]+")
    web = re.compile(r"\b(?:https?|ftp)://(?!127\.0\.0\.1|localhost|\[::1\])[\w.-]+")
    # Names of standards, licences and examples (RFC 2606) are no addresses to download from.
    names = re.compile(
        r"https?://(?:[\w.-]*\.)?(?:example\.(?:org|com|net)|w3\.org|apache\.org|openmetrics\.io|hl7\.org)"
    )
    bad = []
    for path in tracked():
        if path.suffix in {".hl7", ".bin", ".png", ".raw"} or "corpus" in path.parts:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        here = path.relative_to(ROOT)
        build = (
            path.name == "meson.build"
            or path.suffix in {".sh", ".build", ".json"}
            or (here.parts[0] == "tools" and path.suffix in {"", ".txt", ".py"})
            or here.parts[0] == ".ci"
        )
        for number, line in enumerate(text.splitlines(), 1):
            if homes.search(line) and "http" not in line and "GET /" not in line:
                bad.append(f"{here}:{number}: {homes.search(line)[0]}")
            if build and path.name != "package-lock.json" and web.search(line) and not names.search(line):
                bad.append(f"{here}:{number}: {web.search(line)[0]}")
    expect(not bad, "\n".join(bad))


if __name__ == "__main__":
    main()
