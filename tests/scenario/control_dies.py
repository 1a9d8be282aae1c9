# SPDX-License-Identifier: Apache-2.0
"""The control process dies: workers go on taking in and delivering, tools still look, and the next one finds
everything again."""

import json
import os
import signal
import threading
import time

from millrace_test import Failure, Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, scenario


def hub_with(ehr, **destinations):
    return Hub(
        listeners={"adt": {}},
        destinations={"ehr": ehr} | destinations,
        routes=[{"from": "adt", "to": ["ehr", *destinations]}],
    )


@scenario(
    "kill -9 of the control process: open connections never notice, nothing is lost, the same workers go on",
    seconds=120,
)
def killed():
    with Receiver() as ehr, hub_with(ehr) as hub:
        before = hub.pids()
        stop = threading.Event()
        sent, trouble = [], []

        def load():
            try:
                sender = hub.sender("adt")
                while not stop.is_set():
                    msg = adt()
                    expect_ack(sender.exchange(msg), "AA", msg)
                    sent.append(msg)
            except (Failure, OSError) as e:
                trouble.append(e)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            control = before["control"]
            for _ in range(3):
                eventually(lambda n=len(sent): len(sent) > n + 50, "no messages pass")
                hub.kill9("control")
                control = hub.wait_process("control", not_pid=control)
                eventually(lambda: hub.http("/readyz")[0] == 200, "not ready with the new control process", 20)
        finally:
            stop.set()
            thread.join(20)
        expect(not trouble, lambda: f"a sender noticed: {trouble[0]}")
        after = hub.pids()
        for who in ("worker 0", "worker 1"):
            expect_equal(after[who], before[who], f"process of {who} (it must not have been restarted)")
        ehr.wait_for(sent)
        expect_equal({w["state"] for w in hub.status()["workers"]}, {"running"}, "workers' states in the new status")


@scenario("while the control process is dead: status and top from the shared regions, new connections are taken")
def looked_at():
    with Receiver() as ehr, hub_with(ehr) as hub:
        msg = adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        # `millrace run` would start a new one at once: it is stopped for a moment.
        os.kill(hub.process.pid, signal.SIGSTOP)
        try:
            hub.kill9("control")
            eventually(lambda: "control" not in hub.pids(), "the control process lives")
            again = adt()
            expect_ack(hub.sender("adt").exchange(again), "AA", again)
            ehr.wait_for([msg, again])
            r = hub.cli("status", check=False)
            expect(r.returncode in (0, 10, 11), f"status ended with {r.returncode}: {r.stderr}")
            expect("adt" in r.stdout, f"status shows no listener: {r.stdout}")
            r = hub.cli("top", "--batch", "-n", "1")
            expect("ehr" in r.stdout, f"top shows no destination: {r.stdout}")
        finally:
            os.kill(hub.process.pid, signal.SIGCONT)
        hub.wait_process("control")
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready with the new control process", 20)


@scenario("a worker and the control process die together: both come back and take up everything", seconds=120)
def both():
    ehr = Receiver()
    ehr.stop()
    with hub_with(ehr) as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(40)]
        sender.send(*sent)
        sender.answers(40)
        old = hub.pids()
        hub.kill9("control")
        hub.kill9("worker 0")
        hub.wait_process("control", not_pid=old["control"])
        hub.wait_process("worker 0", not_pid=old["worker 0"])
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again", 20)
        ehr.start()
        ehr.wait_for(sent)
        for _ in range(10):
            msg = adt()
            expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
            sent.append(msg)
        ehr.wait_count(50)
    ehr.stop()


@scenario("the new control process can drain, pause and count as the old one did")
def as_before():
    with Receiver() as ehr, hub_with(ehr) as hub:
        hub.cli("queue", "pause", "ehr")
        old = hub.pids()["control"]
        hub.kill9("control")
        hub.wait_process("control", not_pid=old)
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again", 20)
        sender = hub.sender("adt")
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        eventually(lambda: hub.destination("ehr")["queue"] == 1, "the message must wait: its destination is paused")
        expect(json.loads(hub.cli("queue", "show", "ehr", "--json").stdout)["paused"], "queue show must say paused")
        ehr.expect_nothing()
        hub.cli("queue", "resume", "ehr")
        ehr.wait_for([msg])


@scenario(
    "the control process dies while a worker is coming back, and the next one too: all queues empty in the end",
    seconds=150,
)
def while_joining():
    for pause in (0.02, 0.06, 0.11, 0.16, 0.25):
        with (
            Receiver() as one,
            Receiver() as two,
            Hub(
                listeners={"adt": {}},
                destinations={"one": one, "two": two},
                routes=[{"from": "adt", "to": ["one", "two"]}],
            ) as hub,
        ):
            hub.kill9("worker 0")
            time.sleep(pause)
            hub.kill9("control")
            time.sleep(0.25)
            hub.kill9("control")
            eventually(lambda h=hub: h.http("/readyz")[0] == 200, "not ready again", 30)
            sent = []
            for _ in range(8):  # connections to both workers
                sender = hub.sender("adt")
                batch = [adt() for _ in range(5)]
                sender.send(*batch)
                for ack, msg in zip(sender.answers(5), batch):
                    expect_ack(ack, "AA", msg)
                sent += batch
            hub.wait_drained(20)
            for receiver in (one, two):
                expect_equal(set(receiver.bodies), set(sent), f"messages delivered (control killed after {pause} s)")


if __name__ == "__main__":
    main()
