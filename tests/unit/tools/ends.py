# SPDX-License-Identifier: Apache-2.0
"""Helpers of the tools' end-to-end tests: a receiver or responder as a child process, and invented messages."""

import json
import os
import signal
import subprocess

MILLRACE = os.environ["MILLRACE"]


def message(number, extra="", accept="", app=""):
    tail = "|||%s|%s" % (accept, app) if accept or app else ""
    return (
        "MSH|^~\\&|TEST|ONE|HUB|TWO|20260101||ADT^A01|ID%d|P|2.5%s\rPID|1||%d%s\r" % (number, tail, number, extra)
    ).encode()


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def framed(*messages):
    return b"".join(b"\x0b" + m + b"\x1c\r" for m in messages)


class Child:
    """`millrace WORDS... --json 0` that listens on a port of its own choice."""

    def __init__(self, *words):
        self.process = subprocess.Popen([MILLRACE, *words, "--json", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["listening"]
        self.port = int(self.address.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Ends it in the proper way; returns its counters."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self):
        """Waits until it ends by itself."""
        out, _ = self.process.communicate(timeout=30)
        if self.process.returncode != 0:
            raise AssertionError("exit status %d" % self.process.returncode)
        return json.loads(out.splitlines()[-1])


def send(address, *words, data=b"", code=0):
    """Sends @data by `millrace send -`; returns what it reports as JSON."""
    r = subprocess.run([MILLRACE, "send", address, "-", "--json", *words], input=data, capture_output=True, timeout=60)
    if r.returncode != code:
        raise AssertionError("send: exit status %d, not %d: %s" % (r.returncode, code, r.stderr.decode()))
    return json.loads(r.stdout)
