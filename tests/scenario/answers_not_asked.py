# SPDX-License-Identifier: Apache-2.0
"""A message whose MSH-15 and MSH-16 ask for no answer never blocks a destination that, rightly, does not answer it."""

from millrace_test import Hub, Receiver, adt, control_id_of, expect, expect_ack, expect_equal, main, scenario


def quiet(delivery):
    """A receiver by the book: answers only what asks for an answer."""
    head = delivery.body.split(b"\r", 1)[0].split(b"|")
    return "none" if head[14:16] == [b"NE", b"NE"] else "AA"


def hub_with(ehr, **settings):
    return Hub(
        listeners={"adt": {"acknowledge": "always"}},
        destinations={"ehr": {"mllp": ehr, "ack_timeout": "10s"} | settings},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
    )


def send(hub, pairs):
    sender = hub.sender("adt")
    sent = [adt(accept=accept, application=application) for accept, application in pairs]
    for msg in sent:
        expect_ack(sender.exchange(msg), "AA", msg)
    return sent


@scenario("answers: auto and by_msh - a receiver that answers by the book gets all messages once, in order")
def by_the_book():
    for answers in ("auto", "by_msh"):
        with Receiver(quiet) as ehr, hub_with(ehr, answers=answers) as hub:
            sent = send(hub, [("", ""), ("NE", "NE"), ("", ""), ("NE", "NE"), ("NE", "NE"), ("AL", "NE")])
            ehr.wait_for(sent)
            hub.wait_drained()
            hub.wait_metric("millrace_messages_delivered_total", len(sent), destination="ehr", result="delivered")
            expect_equal(hub.metric("millrace_ack_timeouts_total", destination="ehr"), 0, f"time-outs with {answers}")


@scenario("answers: auto - a receiver that refuses a message although it asked for no answer is heard")
def refusal_heard():
    def refuses(delivery):
        return "AE" if quiet(delivery) == "none" else "AA"

    with Receiver(refuses) as ehr, hub_with(ehr, answers="auto") as hub:
        sent = send(hub, [("", ""), ("NE", "NE"), ("", "")])
        ehr.wait_for(sent)
        hub.wait_drained()
        expect_equal(hub.destination("ehr")["dead_letters"], 1, "dead letters")


@scenario("answers: always - no answer is a failure: the message is sent again and none passes it")
def always():
    state = {"quiet": True}

    def behaviour(delivery):
        return quiet(delivery) if state["quiet"] else "AA"

    with Receiver(behaviour) as ehr, hub_with(ehr, answers="always", ack_timeout="300ms") as hub:
        sent = send(hub, [("NE", "NE"), ("", "")])
        ehr.wait_count(2)
        expect_equal({control_id_of(b) for b in ehr.bodies}, {control_id_of(sent[0])}, "messages sent so far")
        state["quiet"] = False
        hub.wait_drained()
        expect(list(dict.fromkeys(ehr.bodies)) == sent, "both messages arrive, in order")


if __name__ == "__main__":
    main()
