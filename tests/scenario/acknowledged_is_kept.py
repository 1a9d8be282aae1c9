# SPDX-License-Identifier: Apache-2.0
"""An acknowledgement means on disk: what was acknowledged survives the death of everything the moment after."""

from millrace_test import Hub, Receiver, adt, expect_ack, expect_equal, free_port, main, scenario


@scenario("acknowledged, then everything dies at once: delivered after the restart", seconds=120)
def kill_after_ack():
    ehr = Receiver()
    ehr.stop()  # nothing can be delivered before the crash
    with Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub:
        sent = []
        for _ in range(4):
            sender = hub.sender("adt")
            sent.append([adt(size=2000) for _ in range(5)])
            for msg in sent[-1]:
                expect_ack(sender.exchange(msg), "AA", msg)
            hub.kill9("all")
            hub.start()
        ehr.start()
        got = ehr.wait_count(20)
        hub.wait_drained()
        expect_equal(len(ehr.deliveries), 20, "messages delivered")
        for mine in sent:
            expect_equal([g for g in got if g in mine], mine, "messages of one connection")
    ehr.stop()


@scenario("a worker dies between acknowledgement and delivery: its messages are delivered by its successor")
def worker_dies():
    ehr = Receiver()
    ehr.stop()
    with Hub(
        listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], workers=1
    ) as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(50)]
        sender.send(*sent)
        for ack, msg in zip(sender.answers(50), sent):
            expect_ack(ack, "AA", msg)
        old = hub.pids()["worker 0"]
        hub.kill9("worker 0")
        sender.expect_closed("the dead worker's connection must break")
        hub.wait_process("worker 0", not_pid=old)
        ehr.start()
        ehr.wait_for(sent)
    ehr.stop()


@scenario(
    "nothing was sent before the acknowledgement was lost: sending again after a crash is answered, not delivered twice"
)
def resend_after_crash():
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        msg = adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        hub.wait_drained()
        hub.kill9("all")
        hub.start()
        again = adt()
        sender = hub.sender("adt")
        expect_ack(sender.exchange(again), "AA", again)
        ehr.wait_for([msg, again])


@scenario("a port on which nobody listens yet keeps messages waiting, not failing")
def destination_later():
    port = free_port()
    with Hub(
        listeners={"adt": {}},
        destinations={"ehr": {"mllp": f"127.0.0.1:{port}"}},
        routes=[{"from": "adt", "to": ["ehr"]}],
    ) as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(20)]
        for msg in sent:
            expect_ack(sender.exchange(msg), "AA", msg)
        with Receiver(port=port) as ehr:
            ehr.wait_for(sent)
            hub.wait_drained()


if __name__ == "__main__":
    main()
