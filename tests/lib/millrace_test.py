# SPDX-License-Identifier: Apache-2.0
"""What scenario files are written with: a real hub, senders, receivers, messages and expectations.

A scenario reads like a story:

    with Receiver() as ehr, Hub(listeners={"adt": {}}, destinations={"ehr": ehr},
                                routes=[{"from": "adt", "to": ["ehr"]}]) as hub:
        message = adt()
        expect_ack(hub.sender("adt").exchange(message), "AA", message)
        ehr.wait_for([message])

Nothing here is simulated: `millrace run` starts the hub's real processes in a folder of their own, on free ports,
and peers are plain sockets that share no code with Millrace. Only the standard library is used. The programs come
from the build folder that MILLRACE_BUILD names (default: build/ beside the sources). MILLRACE_TEST_SLOW
multiplies every time limit (sanitizer builds), MILLRACE_KEEP=1 keeps the hubs' folders. Output is TAP.
"""

import os
import signal
import sys
import time
import traceback

from mt_base import (
    BUILD,
    CANARY,
    CR,
    EB,
    MILLRACE,
    ROOT,
    SB,
    SLOW,
    Failure,
    Skip,
    eventually,
    expect,  # noqa: F401
    expect_equal,
    short,
)
from mt_hub import Hub  # noqa: F401
from mt_messages import Ack, adt, control_id_of, expect_ack, fields_of, frame, make_ack, message, new_id, oru  # noqa: F401
from mt_peers import Delivery, FrameReader, Receiver, Sender, describe_difference, free_port  # noqa: F401

_scenarios = []


def scenario(title, seconds=60):
    """Marks a function as one promise. `seconds` is when a hanging one is given up, never a measure."""

    def mark(function):
        _scenarios.append((title, function, seconds))
        return function

    return mark


def _alarm(*_):
    raise Failure("gave up: the scenario hangs")


def main():
    """Run this file's scenarios (or those whose titles hold one of the arguments), print TAP, exit 0 if all held."""
    chosen = [s for s in _scenarios if len(sys.argv) < 2 or any(a in s[0] for a in sys.argv[1:])]
    signal.signal(signal.SIGALRM, _alarm)
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    failed = 0
    for number, (title, function, seconds) in enumerate(chosen, 1):
        started = time.monotonic()
        signal.alarm(int(seconds * SLOW) + 1)
        try:
            function()
            verdict = f"ok {number} - {title}"
        except Skip as e:
            verdict = f"ok {number} - {title} # SKIP {e}"
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            verdict = f"not ok {number} - {title}"
            lines = (str(e) if isinstance(e, Failure) else traceback.format_exc()).splitlines()
            if isinstance(e, Failure):
                at = [
                    f
                    for f in traceback.extract_tb(e.__traceback__)
                    if os.path.basename(f.filename)[:3] != "mt_" and not f.filename.endswith("millrace_test.py")
                ]
                lines.append(f"at {os.path.basename(at[-1].filename)}:{at[-1].lineno}: {at[-1].line}" if at else "")
            print(*[f"#   {line}" for line in lines], sep="\n", flush=True)
        finally:
            signal.alarm(0)
        print(verdict, flush=True)
        print(f"#   {time.monotonic() - started:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
