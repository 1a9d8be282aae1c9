# SPDX-License-Identifier: Apache-2.0
"""Routes choose by listener and by any field of the message; all that match, or the first, by setting."""

from millrace_test import Hub, Receiver, adt, expect, expect_ack, expect_equal, main, message, oru, scenario


def delivered(routes, messages, routing="all", listeners=None):
    """Which destinations each message reached: one set of names per message."""
    names = sorted({n for r in routes for n in r["to"]})
    receivers = {n: Receiver() for n in names}
    try:
        with Hub(listeners=listeners or {"adt": {}}, destinations=receivers, routes=routes, routing=routing) as hub:
            for listener, msg in messages:
                with hub.sender(listener) as sender:
                    expect_ack(sender.exchange(msg), "AA", msg)
            hub.wait_drained()
        for n, r in receivers.items():
            expect_equal(len(set(r.bodies)), len(r.bodies), f"different messages at {n}")
        return [{n for n, r in receivers.items() if msg in r.bodies} for _, msg in messages]
    finally:
        for r in receivers.values():
            r.stop()


@scenario("every operator of the language")
def operators():
    conditions = {
        "eq": 'MSH-9.1 == "ORU"',
        "ne": 'MSH-9.1 != "ORU"',
        "in": 'PV1-2 in ["I", "E"]',
        "notin": 'PV1-2 not in ["I", "E"]',
        "regex": 'PID-3.1 =~ "^47[0-9]+$"',
        "exists": "exists OBX-5",
        "absent": "!exists(OBX-5)",
        "and": 'MSH-9.1 == "ORU" && exists OBX-1',
        "or": 'MSH-9.1 == "SIU" || PID-8 == "F"',
        "deep": '(MSH-9.1 == "ORU" || MSH-9.1 == "ADT") && !(PV1-2 == "O")',
        "rep": 'PID-3[2].1 == "99"',
        "any": 'OBX(*)-3.1 == "b"',
        "escape": 'NTE-3 == "a&b"',
        "never": 'MSH-9.1 == "ZZZ"',
    }
    routes = [{"name": n, "from": "adt", "when": c, "to": [n]} for n, c in conditions.items()]
    first = adt()
    second = message("ORU^R01^ORU_R01", segments=["OBR|1", "OBX|1|NM|a||1", "OBX|2|NM|b||2", "NTE|1|L|a\\T\\b"])
    third = (
        first.replace(b"|4711^^^NORTH^MR|", b"|x1^^^N~99^^^S|")
        .replace(b"PV1|1|I", b"PV1|1|O")
        .replace(b"|F\r", b"|M\r")
    )
    got = delivered(routes, [("adt", first), ("adt", second), ("adt", third.replace(b"|P|2.5.1", b"|P|2.5"))])
    expect_equal(got[0], {"ne", "in", "regex", "absent", "or", "deep"}, "where the admission went")
    expect_equal(got[1], {"eq", "in", "regex", "exists", "and", "or", "deep", "any", "escape"}, "where the result went")
    expect_equal(got[2], {"ne", "notin", "absent", "rep"}, "where the outpatient went")


@scenario("routing: first takes the first route that matches; all takes every one, each destination once")
def first_or_all():
    routes = [
        {"from": "adt", "when": 'MSH-9.1 == "ADT"', "to": ["a", "b"]},
        {"from": "adt", "when": "exists PID-3", "to": ["b", "c"]},
        {"from": "adt", "to": ["d"]},
    ]
    messages = [("adt", adt()), ("adt", oru())]
    expect_equal(delivered(routes, messages, "all"), [{"a", "b", "c", "d"}, {"b", "c", "d"}], "routing: all")
    messages = [("adt", adt()), ("adt", oru())]
    expect_equal(delivered(routes, messages, "first"), [{"a", "b"}, {"b", "c"}], "routing: first")


@scenario("routes by listener: one, several, any")
def by_listener():
    routes = [{"from": "adt", "to": ["one"]}, {"from": ["adt", "lab"], "to": ["two"]}, {"from": "*", "to": ["any"]}]
    messages = [("adt", adt()), ("lab", adt()), ("third", adt())]
    got = delivered(routes, messages, listeners={"adt": {}, "lab": {}, "third": {}})
    expect_equal(got, [{"one", "two", "any"}, {"two", "any"}, {"any"}], "destinations by listener")


@scenario("delimiters of the message's own: conditions mean fields, not characters")
def own_delimiters():
    routes = [{"from": "adt", "when": 'PID-5.2 == "Ida" && MSH-9.2 == "A04"', "to": ["yes"]}]
    msg = message("ADT^A04^ADT_A01", delimiters="$%*!?", name="Strange%Ida")
    expect_equal(delivered(routes, [("adt", msg)]), [{"yes"}], "destinations")


@scenario("300 routes on one listener")
def many():
    routes = [{"from": "adt", "when": f'MSH-9.2 == "A{n:02}" && PID-5.1 =~ "N{n}$"', "to": ["ehr"]} for n in range(300)]
    yes, no = message("ADT^A07^ADT_A01", name="XN7"), message("ADT^A07^ADT_A01", name="XN8")
    last = message("ADT^A299", name="N299")
    got = delivered(routes, [("adt", yes), ("adt", no), ("adt", last)])
    expect(got == [{"ehr"}, set(), {"ehr"}], f"delivered: {got}")


if __name__ == "__main__":
    main()
