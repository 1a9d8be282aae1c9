# SPDX-License-Identifier: Apache-2.0
"""`millrace run` with no configuration starts a useful default and says what it did."""

import os
import shutil
import subprocess
import tempfile
import time

from millrace_test import (
    CANARY,
    MILLRACE,
    BUILD,
    SLOW,
    Failure,
    Sender,
    adt,
    eventually,
    expect,
    expect_ack,
    expect_equal,
    free_port,
    main,
    scenario,
)


@scenario("no configuration: listener, data, metrics by default; ports and folders by environment")
def default():
    folder = tempfile.mkdtemp(prefix="millrace-test-")
    port, metrics, sent = free_port(), free_port(), []
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    env |= {
        "MILLRACE_RUN": folder + "/run",
        "MILLRACE_DATA": folder + "/data",
        "MILLRACE_METRICS_PORT": str(metrics),
        "MILLRACE_JOURNAL_SEGMENT": "64MiB",
    }
    text = subprocess.run([MILLRACE, "run", "--help"], capture_output=True, text=True, timeout=20, check=False)
    expect_equal(text.returncode, 0, "exit status of run --help")
    env |= {f"MILLRACE_LISTENERS_{name}_PORT": str(port) for name in default_listeners()}
    with open(folder + "/log", "wb") as log:
        process = subprocess.Popen([MILLRACE, "run"], env=env, stdout=log, stderr=log, start_new_session=True)
    try:

        def read():
            with open(folder + "/log", encoding="utf-8", errors="replace") as f:
                return f.read()

        def ready():
            expect(process.poll() is None, lambda: f"it ended with {process.returncode}: {read()}")
            return "ready:" in read()

        eventually(ready, read, 40)
        for _ in range(20):
            msg = adt()
            sent.append(msg)
            expect_ack(Sender(port).exchange(msg), "AA", msg)
        eventually(lambda: kept(folder + "/data/inbox") == sorted(sent), "the messages are no files in the inbox", 20)
        expect(str(port) in read() and str(metrics) in read(), f"it does not say where it listens: {read()}")
        process.terminate()
        expect_equal(process.wait(40 * SLOW), 0, f"exit status ({read()})")
        expect(CANARY not in read(), "message content in the log")
    finally:
        if process.poll() is None:
            process.terminate()
            time.sleep(2)
        for _ in range(3):
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{entry}/cmdline", "rb") as f:
                        if folder.encode() in f.read():
                            os.kill(int(entry), 9)
                except OSError:
                    continue
        shutil.rmtree(folder, ignore_errors=True)


def kept(inbox):
    """The messages in the files of the built-in configuration's destination, sorted."""
    if not os.path.isdir(inbox):
        return []
    found = []
    for name in os.listdir(inbox):
        if not name.startswith("."):
            with open(os.path.join(inbox, name), "rb") as f:
                found.append(f.read())
    return sorted(found)


def default_listeners():
    """Names of the built-in configuration's listeners, as environment variables write them."""
    text = subprocess.run(
        [BUILD / "control" / "millrace-control", "--print-default"], capture_output=True, text=True, check=True
    ).stdout
    names, inside = [], False
    for line in text.splitlines():
        if line.startswith("listeners:"):
            inside = True
        elif inside and line and not line.startswith((" ", "#")):
            inside = False
        elif inside and line.startswith("  ") and line[2] not in " #":
            names.append(line.strip().split(":")[0].upper().replace("-", "_"))
    if not names:
        raise Failure("the default configuration has no listener")
    return names


if __name__ == "__main__":
    main()
