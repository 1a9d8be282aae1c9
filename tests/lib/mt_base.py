# SPDX-License-Identifier: Apache-2.0
"""Where things are, and expectations with a text that says what the user would have noticed."""

import http.client
import os
import pathlib
import random
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MILLRACE_BUILD") or ROOT / "build").resolve()
SLOW = float(os.environ.get("MILLRACE_TEST_SLOW") or 1)
MILLRACE = BUILD / "tools" / "millrace"
SB, EB, CR = b"\x0b", b"\x1c", b"\x0d"

# Stands in every made-up patient name and note: it must never be seen in a log, a metric or a status page.
CANARY = "Quillfeather%04X" % random.SystemRandom().randrange(0x10000)


class Failure(AssertionError):
    """An expectation that was not met; the text says what the user would have noticed."""


class Skip(Exception):
    """This scenario cannot run here; the text says why."""


def expect(condition, text):
    if not condition:
        raise Failure(text() if callable(text) else text)


def expect_equal(got, wanted, what):
    expect(got == wanted, f"{what}: wanted {short(wanted)}, got {short(got)}")


def eventually(probe, text, seconds=15.0, pause=0.02):
    """Wait until probe() is true and return its value; fail with `text` (may be a function) when the time is over.

    A hub that cannot be asked for a moment (its control process is being replaced) counts as "not yet".
    """
    end = time.monotonic() + seconds * SLOW
    while True:
        try:
            value = probe()
        except (OSError, http.client.HTTPException):
            value = None
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{text() if callable(text) else text} (waited {seconds * SLOW:.0f} s)")
        time.sleep(pause)


def short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}... ({len(text)} characters)"
