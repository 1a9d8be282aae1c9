# SPDX-License-Identifier: Apache-2.0
"""Bytes between frames: skipped and counted, or refused, by setting."""

from millrace_test import Hub, Receiver, adt, expect_ack, frame, main, scenario


def hub_with(ehr, **listener):
    return Hub(
        listeners={"adt": listener}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], workers=1
    )


@scenario("between_frames: skip - line ends, keep-alives and rubbish are skipped and counted")
def skipped():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        sent = []
        for junk in (b"\r\n", b"\x00", b"PING", b"x" * 5000):
            msg = adt()
            sender.raw(junk + frame(msg) + junk)
            expect_ack(sender.answer(), "AA", msg)
            sent.append(msg)
        ehr.wait_for(sent)
        hub.wait_metric("millrace_bytes_between_frames_total", 2 * (2 + 1 + 4 + 5000), listener="adt")


@scenario("between_frames: refuse - the connection is closed, what came before is kept and acknowledged")
def refused():
    with Receiver() as ehr, hub_with(ehr, between_frames="refuse") as hub:
        sender = hub.sender("adt")
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        sender.raw(b"rubbish")
        sender.expect_closed("a connection with bytes between frames must be closed")
        again = adt()
        expect_ack(hub.sender("adt").exchange(again), "AA", again)
        ehr.wait_for([msg, again])
        hub.wait_metric("millrace_connections_closed_total", 1, listener="adt", reason="bytes_between_frames")


if __name__ == "__main__":
    main()
