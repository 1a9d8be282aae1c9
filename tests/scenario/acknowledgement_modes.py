# SPDX-License-Identifier: Apache-2.0
"""Original and enhanced acknowledgement mode by MSH-15 and MSH-16, as HL7 2.9.1 chapter 2.8 has it."""

from millrace_test import Hub, Receiver, adt, control_id_of, expect, expect_ack, expect_equal, main, message, scenario

# (MSH-15, MSH-16) -> answers to a good message, answers to one that is refused
BY_MSH = {
    ("", ""): (["AA"], ["AR"]),
    ("AL", "NE"): (["CA"], ["CR"]),
    ("AL", "AL"): (["CA"], ["CR"]),
    ("NE", "AL"): (["AA"], ["AR"]),
    ("NE", "NE"): ([], []),
    ("ER", "NE"): ([], ["CR"]),
    ("SU", "NE"): (["CA"], []),
    ("NE", "ER"): ([], ["AR"]),
    ("NE", "SU"): (["AA"], []),
    ("AL", ""): (["CA"], ["CR"]),
    ("", "AL"): (["AA"], ["AR"]),
}
BOTH = {
    ("", ""): ["AA"],
    ("AL", "NE"): ["CA"],
    ("AL", "AL"): ["CA", "AA"],
    ("NE", "AL"): ["AA"],
    ("NE", "NE"): [],
    ("SU", "SU"): ["CA", "AA"],
    ("ER", "ER"): [],
}
ACCEPT_ONLY = {("", ""): ["AA"], ("AL", "NE"): ["CA"], ("AL", "AL"): ["CA"], ("NE", "AL"): []}


def walk(hub, table, bad=False):
    """Send one message per row; a plain one behind it shows that no answer is still to come."""
    sender = hub.sender("adt")
    for (accept, application), codes in table.items():
        msg = adt(accept=accept, application=application, version="9.9" if bad else "2.5.1")
        plain = adt()
        sender.send(msg, plain)
        for code in codes:
            ack = expect_ack(sender.answer(), code, msg)
            expect(
                len(ack.msh) <= 14 or not any(ack.msh[14:16]),
                f"an acknowledgement's own MSH-15/16 must be empty ({accept}/{application})",
            )
            if bad:
                expect(ack.err or ack.msa[3:], f"a refusal must say why ({accept}/{application}): {ack.raw!r}")
        ack = sender.answer()
        expect(
            ack.id == control_id_of(plain),
            f"MSH-15={accept or 'empty'}, MSH-16={application or 'empty'}: "
            f"{'another' if codes else 'an'} answer {ack!r} came, wanted {codes or 'none'}",
        )


def hub_with(ehr, **listener):
    return Hub(listeners={"adt": listener}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}])


@scenario("good messages: the answers that MSH-15/16 ask for, and no others")
def good():
    with Receiver() as ehr, hub_with(ehr) as hub:
        walk(hub, {k: v[0] for k, v in BY_MSH.items()})
        ehr.wait_count(2 * len(BY_MSH))


@scenario("refused messages (unknown version): refusals only where they are asked for")
def refused():
    with Receiver() as ehr, hub_with(ehr) as hub:
        walk(hub, {k: v[1] for k, v in BY_MSH.items()}, bad=True)
        ehr.wait_count(len(BY_MSH))
        expect_equal(len(ehr.deliveries), len(BY_MSH), "messages delivered (the refused ones must not be)")


@scenario("application_ack: both - accept acknowledgement first, then the application's")
def both():
    with Receiver() as ehr, hub_with(ehr, application_ack="both") as hub:
        walk(hub, BOTH)


@scenario("application_ack: none - accept acknowledgements only")
def accept_only():
    with Receiver() as ehr, hub_with(ehr, application_ack="none") as hub:
        walk(hub, ACCEPT_ONLY)


@scenario("acknowledge: always - AA whatever MSH-15/16 say")
def always():
    with Receiver() as ehr, hub_with(ehr, acknowledge="always") as hub:
        walk(hub, {k: ["AA"] for k in BY_MSH})


@scenario(
    "the answer mirrors the sender: parties swapped, delimiters, version, processing ID, character set and trigger"
)
def mirror():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        msg = message(
            "ADT^A04^ADT_A01",
            sender="REG&SUB",
            facility="HOSP A",
            version="2.4",
            charset="8859/1",
            processing="T",
            delimiters="$%*!?",
        )
        ack = expect_ack(sender.exchange(msg), "AA", msg)
        expect_equal(ack.raw[3:8], b"$%*!?", "delimiters")
        expect_equal(ack.msh[2:4], [b"HUB", b"REGION"], "MSH-3 and MSH-4 (the receiver of the message)")
        expect_equal(ack.msh[4:6], [b"REG&SUB", b"HOSP A"], "MSH-5 and MSH-6 (the sender of the message)")
        expect_equal(ack.msh[8][:7], b"ACK%A04", "MSH-9")
        expect_equal(ack.msh[10], b"T", "MSH-11")
        expect_equal(ack.msh[11], b"2.4", "MSH-12")
        expect_equal(ack.msh[17:18], [b"8859/1"], "MSH-18")
        expect(ack.msh[9] and ack.msh[9] != ack.id, "an acknowledgement has a control ID of its own")
        expect(len(ack.msh[6]) >= 14, "MSH-7 has date and time")


@scenario("control IDs come back exactly: blanks, escapes, 199 characters, components")
def exact_ids():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        for control_id in ("7", " 7 ", "A\\F\\B", "x" * 199, "0007", "ID-ÅÄÖ", "a^b"):
            msg = adt(control_id)
            ack = sender.exchange(msg)
            expect_equal((ack.code, ack.id), ("AA", control_id.encode()), "answer")


@scenario("no two acknowledgements have the same control ID")
def own_ids():
    with Receiver() as ehr, hub_with(ehr) as hub:
        ids = []
        for _ in range(4):
            sender = hub.sender("adt")
            messages = [adt() for _ in range(100)]
            sender.send(*messages)
            ids += [a.msh[9] for a in sender.answers(100)]
        expect_equal(len(set(ids)), len(ids), "different MSH-10 among the acknowledgements")


if __name__ == "__main__":
    main()
