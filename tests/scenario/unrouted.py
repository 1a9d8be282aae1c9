# SPDX-License-Identifier: Apache-2.0
"""A message that no route takes is kept, acknowledged and counted, or refused, by setting; no routes at all are
legal."""

from millrace_test import Hub, Receiver, adt, expect, expect_ack, main, oru, scenario

ORU_ONLY = [{"from": "adt", "when": 'MSH-9.1 == "ORU"', "to": ["ehr"]}]


@scenario("unrouted: accept (the default) - acknowledged and counted, delivered to nobody")
def accepted():
    with Receiver() as ehr, Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=ORU_ONLY) as hub:
        sender = hub.sender("adt")
        lost, taken = adt(), oru()
        expect_ack(sender.exchange(lost), "AA", lost)
        expect_ack(sender.exchange(taken), "AA", taken)
        ehr.wait_for([taken])
        hub.wait_metric("millrace_messages_unrouted_total", 1, listener="adt", reason="kept")


@scenario("unrouted: reject - refused with a reason, for all or for one listener")
def rejected():
    with Receiver() as ehr:
        for whole, one in (({"unrouted": "reject"}, {}), ({}, {"unrouted": "reject"})):
            with Hub(listeners={"adt": one}, destinations={"ehr": ehr}, routes=ORU_ONLY, **whole) as hub:
                sender = hub.sender("adt")
                ack = sender.exchange(adt())
                expect(ack.code in ("AR", "AE"), f"wanted a refusal, got {ack!r}")
                expect(ack.err, "the refusal does not say why")
                taken = oru()
                expect_ack(sender.exchange(taken), "AA", taken)
                hub.wait_drained()
                expect(ehr.bodies[-1] == taken, "the routed message is delivered")
                hub.wait_metric("millrace_messages_unrouted_total", 1, listener="adt", reason="refused")


@scenario("routes: [] - a hub that only takes in and keeps")
def no_routes():
    with Hub(listeners={"adt": {}}, routes=[]) as hub:
        sender = hub.sender("adt")
        for _ in range(10):
            msg = adt()
            expect_ack(sender.exchange(msg), "AA", msg)
        hub.wait_metric("millrace_messages_unrouted_total", 10, listener="adt", reason="kept")


if __name__ == "__main__":
    main()
