# SPDX-License-Identifier: Apache-2.0
"""Every wait has a limit: a sender that stops inside a frame, says nothing or reads nothing is let go; others do not
notice."""

import time

from millrace_test import Hub, Receiver, adt, expect, expect_ack, frame, main, scenario


def hub_with(ehr, **listener):
    return Hub(
        listeners={"adt": listener}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], workers=1
    )


@scenario("a frame that does not end in frame_timeout closes its connection, however its bytes drip")
def frame_timeout():
    with Receiver() as ehr, hub_with(ehr, frame_timeout="500ms") as hub:
        slow, dripping, good = hub.sender("adt"), hub.sender("adt"), hub.sender("adt")
        block = frame(adt(size=4000))
        slow.raw(block[:100])
        gone = False
        for byte in block:
            try:
                dripping.raw(bytes([byte]))
            except OSError:
                gone = True
                break
            time.sleep(0.02)
        expect(gone, "a frame that dripped in over a long time was let to go on")
        slow.expect_closed("a connection that stopped inside a frame must be closed")
        msg = adt()
        expect_ack(good.exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        hub.wait_metric("millrace_connections_closed_total", 2, listener="adt", reason="frame_timeout")


@scenario("idle_timeout closes a silent connection, between messages and before the first")
def idle_timeout():
    with Receiver() as ehr, hub_with(ehr, idle_timeout="1s") as hub:
        silent, used = hub.sender("adt"), hub.sender("adt")
        msg = adt()
        expect_ack(used.exchange(msg), "AA", msg)
        silent.expect_closed("a connection that says nothing must be closed")
        used.expect_closed("a connection that says nothing more must be closed")
        ehr.wait_for([msg])
        hub.wait_metric("millrace_connections_closed_total", 2, listener="adt", reason="idle")


@scenario("without idle_timeout a silent connection stays, and works")
def stays():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        sender.expect_silence(1.5)
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)


@scenario("a sender that never reads its acknowledgements is held back and then let go; memory stays bounded")
def reads_nothing():
    with Receiver() as ehr, hub_with(ehr, send_timeout="1s") as hub:
        good = hub.sender("adt")
        deaf = hub.sender("adt")
        deaf.socket.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF: what it does not read, the hub keeps
        deaf.socket.settimeout(20)
        gone = False
        for _ in range(3000):
            try:
                deaf.send(*[adt() for _ in range(50)])
            except OSError:
                gone = True
                break
        expect(gone, "a sender that reads nothing could send for ever")
        msg = adt()
        expect_ack(good.exchange(msg), "AA", msg)
        hub.wait_drained(60)


if __name__ == "__main__":
    main()
