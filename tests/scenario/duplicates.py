# SPDX-License-Identifier: Apache-2.0
"""A message sent again (same sender, control ID and bytes) is answered again and not forwarded; the same ID with
other bytes is."""

from millrace_test import Hub, Receiver, adt, expect, expect_ack, expect_equal, main, new_id, scenario


def hub_with(ehr, listener=None, **settings):
    return Hub(
        listeners={"adt": listener or {}},
        destinations={"ehr": ehr},
        routes=[{"from": "adt", "to": ["ehr"]}],
        **settings,
    )


@scenario("the same message again, on the same and on another connection: answered, counted, delivered once")
def answered_again():
    with Receiver() as ehr, hub_with(ehr, workers=1) as hub:
        msg, last = adt(), adt()
        first = hub.sender("adt")
        expect_ack(first.exchange(msg), "AA", msg)
        expect_ack(first.exchange(msg), "AA", msg)
        second = hub.sender("adt")
        expect_ack(second.exchange(msg), "AA", msg)
        expect_ack(second.exchange(last), "AA", last)
        ehr.wait_for([msg, last])
        hub.wait_metric("millrace_duplicates_total", 2, listener="adt", action="answered")


@scenario("both copies in one write: one delivery")
def in_one_write():
    with Receiver() as ehr, hub_with(ehr) as hub:
        msg, last = adt(), adt()
        sender = hub.sender("adt")
        sender.send(msg, msg, msg, last)
        for ack, of in zip(sender.answers(4), [msg, msg, msg, last]):
            expect_ack(ack, "AA", of)
        ehr.wait_for([msg, last])


@scenario("the same ID with another body, or from another sender, is forwarded and counted")
def other_body():
    with Receiver() as ehr, hub_with(ehr, workers=1) as hub:
        same = new_id()
        messages = [adt(same), adt(same, name="Someone^Else"), adt(same, facility="SOUTH")]
        sender = hub.sender("adt")
        for msg in messages:
            expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for(messages)
        hub.wait_metric("millrace_duplicates_total", 0, listener="adt", action="answered")
        hub.wait_metric("millrace_duplicates_total", 1, listener="adt", action="forwarded")


@scenario("duplicates are known after a crash")
def after_crash():
    with Receiver() as ehr, hub_with(ehr, workers=1) as hub:
        msg, last = adt(), adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        hub.wait_drained()
        hub.kill9("all")
        hub.start()
        sender = hub.sender("adt")
        expect_ack(sender.exchange(msg), "AA", msg)
        expect_ack(sender.exchange(last), "AA", last)
        ehr.wait_for([msg, last])


@scenario("duplicates: forward - every copy is delivered")
def forwarded():
    with Receiver() as ehr, hub_with(ehr, {"duplicates": "forward"}) as hub:
        msg = adt()
        sender = hub.sender("adt")
        for _ in range(3):
            expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for([msg] * 3)


@scenario("a copy that asks for an accept acknowledgement gets the same code as the first")
def enhanced():
    with Receiver() as ehr, hub_with(ehr) as hub:
        msg = adt(accept="AL", application="NE")
        sender = hub.sender("adt")
        first, second = sender.exchange(msg), sender.exchange(msg)
        expect_equal((first.code, second.code), ("CA", "CA"), "codes")
        expect(first.id == second.id, "both answer the same message")
        ehr.wait_for([msg])


@scenario("a copy on another listener is no duplicate: it goes where that listener's messages go")
def two_listeners():
    with (
        Receiver() as ehr,
        Receiver() as lis,
        Hub(
            listeners={"adt": {}, "lab": {}},
            destinations={"ehr": ehr, "lis": lis},
            routes=[{"from": "adt", "to": ["ehr"]}, {"from": "lab", "to": ["lis"]}],
        ) as hub,
    ):
        msg = adt()
        for listener in ("adt", "lab", "adt", "lab"):
            expect_ack(hub.sender(listener).exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        lis.wait_for([msg])


if __name__ == "__main__":
    main()
