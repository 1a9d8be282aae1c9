# SPDX-License-Identifier: Apache-2.0
"""Not a byte of a message in logs, metrics, status pages or shared regions, even when everything goes wrong."""

import json

from millrace_test import CANARY, Hub, Receiver, adt, eventually, expect, expect_equal, frame, main, scenario


@scenario("refusals, dead letters, time-outs, garbage, crashes: the logs and pages carry no content")
def everything_wrong():
    with (
        Receiver(lambda d: ("AR", "garbage", "swap", "close")[len(d.body) % 4]) as ehr,
        Hub(
            listeners={"adt": {"max_frame": "64KiB"}},
            routes=[{"from": "adt", "to": ["ehr"]}],
            destinations={
                "ehr": {"mllp": ehr, "ack_timeout": "200ms", "retry": {"first": "10ms", "max": "20ms", "attempts": 2}}
            },
        ) as hub,
    ):
        sender = hub.sender("adt")
        for n in range(12):
            sender.send(adt(size=400 + n))
            sender.answer()
        for body in (f"PID|1||{CANARY}".encode(), f"MSH|^~\\&|{CANARY}|{CANARY}\r".encode(), f"MSH|{CANARY}".encode()):
            sender.raw(frame(body))
            sender.answer()
        with hub.sender("adt") as vandal:
            vandal.raw(CANARY.encode() * 20)
        with hub.sender("adt") as large:
            try:
                large.send(adt(size=200_000))
                large.expect_closed("too large")
            except OSError:
                pass
        eventually(lambda: hub.destination("ehr")["queue"] == 0, "the messages must end in the dead letters", 30)
        for who in ("worker 0", "connector", "control", "worker 1"):
            old = hub.pids().get(who)
            if hub.kill9(who):
                hub.wait_process(who, not_pid=old)
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again")
        shown = (
            hub.cli("status").stdout
            + hub.cli("queue", "list").stdout
            + hub.cli("dead", "list").stdout
            + hub.cli("top", "--batch", "-n", "1").stdout
        )
        shown += json.dumps(json.loads(hub.cli("dead", "list", "--json").stdout))
        expect(CANARY not in shown, "the command line shows content of a message")
        # The Hub class looks at the log, the metrics, the status and the regions when the hub ends.


@scenario("with --log json every line of the log is one JSON object with time, level, code and text")
def log_lines():
    with (
        Receiver("AR") as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        sender = hub.sender("adt")
        for _ in range(200):
            sender.exchange(adt())
        hub.wait_drained()
        hub.kill9("worker 1")
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again")
        lines = [line for line in hub.log().splitlines() if line.startswith(b"{")]
        expect(lines, f"no JSON line in the log: {hub.log_tail()}")
        for line in lines:
            entry = json.loads(line)
            expect({"time", "level", "text"} <= set(entry), f"a log line without time, level or text: {entry}")
        expect(
            len(lines) < 60,
            f"200 refusals and one crash made {len(lines)} lines: one line per distinct trouble was promised",
        )
        expect_equal(hub.destination("ehr")["dead_letters"], 200, "dead letters")


if __name__ == "__main__":
    main()
