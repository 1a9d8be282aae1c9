# SPDX-License-Identifier: Apache-2.0
"""SIGTERM drains: no new connections, what is in flight is finished or kept, exit 0; nothing acknowledged is lost,
nothing sent twice."""

import signal
import threading
import time

from millrace_test import (
    Failure,
    Hub,
    Receiver,
    Sender,
    adt,
    control_id_of,
    eventually,
    expect,
    expect_ack,
    expect_equal,
    main,
    scenario,
)


def hub_with(ehr, **settings):
    return Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], **settings)


@scenario("an idle hub ends at once with 0, and its ports are free")
def idle():
    with Receiver() as ehr, hub_with(ehr) as hub:
        connected = hub.sender("adt")
        msg = adt()
        expect_ack(connected.exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        hub.stop()
        connected.expect_closed("the hub ended but a connection is still open")
        r = hub.cli("status", check=False)
        expect_equal(r.returncode, 8, "exit status of `millrace status` after an orderly stop")
        expect("stopped in order" in r.stdout and "nothing pending" in r.stdout, f"status says: {r.stdout}{r.stderr}")
        try:
            Sender(hub.ports["adt"])
        except ConnectionRefusedError:
            pass
        else:
            raise Failure("somebody still listens")


@scenario(
    "under load: what was acknowledged is delivered before the end or after the next start, each message once",
    seconds=120,
)
def under_load():
    with Receiver() as ehr, hub_with(ehr) as hub:
        acknowledged = []
        stop = threading.Event()

        def load():
            try:
                sender = hub.sender("adt")
                while not stop.is_set():
                    batch = [adt() for _ in range(10)]
                    sender.send(*batch)
                    for msg in batch:
                        if sender.answer().code == "AA":
                            acknowledged.append(msg)
            except (Failure, OSError):
                pass  # the hub closed: that is what the drain does

        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        eventually(lambda: len(acknowledged) > 500, "no load came up")
        hub.stop()
        stop.set()
        for t in threads:
            t.join(20)
        expect(not any(t.is_alive() for t in threads), "the hub ended but a sender still waits")
        hub.start()
        hub.wait_drained()
        got = ehr.bodies
        missing = [m for m in acknowledged if m not in set(got)]
        expect(
            not missing,
            lambda: f"{len(missing)} acknowledged messages were lost, the first {control_id_of(missing[0])}",
        )
        expect_equal(len(got), len(set(got)), "messages delivered (an orderly end must send nothing twice)")


@scenario(
    "a destination that is down: its messages are kept, the end does not wait for it for ever, and it says what is kept"
)
def kept():
    ehr = Receiver()
    ehr.stop()
    with hub_with(ehr, drain_timeout="2s") as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(30)]
        sender.send(*sent)
        sender.answers(30)
        hub.stop()
        expect(b"30" in hub.log()[-2000:], f"the log does not say that 30 messages are kept: {hub.log_tail()}")
        ehr.start()
        hub.start()
        ehr.wait_for(sent)
    ehr.stop()


@scenario("a second signal ends it at once; nothing is lost either")
def second_signal():
    with Receiver("hang") as ehr, hub_with(ehr, drain_timeout="60s") as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(5)]
        sender.send(*sent)
        sender.answers(5)
        ehr.wait_count(1)
        hub.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        hub.process.send_signal(signal.SIGTERM)
        hub.process.wait(20)
        hub.process = None
        eventually(lambda: not hub.all_pids(), "processes are left")
        ehr.behaviour = "AA"
        ehr.break_connections()
        hub.start()
        hub.wait_drained()
        firsts = list(dict.fromkeys(ehr.bodies))
        expect_equal(firsts, sent, "delivered")


@scenario("while it drains a new connection is refused at once, so that senders go elsewhere")
def refused():
    with (
        Receiver("hang") as ehr,
        Hub(
            listeners={"adt": {}},
            destinations={"ehr": ehr},
            routes=[{"from": "adt", "to": ["ehr"]}],
            drain_timeout="20s",
        ) as hub,
    ):
        msg = adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_count(1)
        hub.process.send_signal(signal.SIGTERM)

        def no_listener():
            try:
                hub.sender("adt").close()
                return False
            except (OSError, Failure):
                return True

        eventually(no_listener, "new connections must be refused")
        expect(hub.process.poll() is None, "the hub must still wait for the destination's answer")
        ehr.behaviour = "AA"
        ehr.break_connections()
        expect_equal(hub.process.wait(60), 0, "exit status")
        hub.process = None


if __name__ == "__main__":
    main()
