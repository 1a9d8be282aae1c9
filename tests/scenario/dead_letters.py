# SPDX-License-Identifier: Apache-2.0
"""Dead letters can be listed, looked at, retried and discarded by the operator."""

import json

from millrace_test import Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, scenario


def hub_with_dead(ehr, count):
    hub = Hub(
        listeners={"adt": {}},
        destinations={"ehr": ehr, "other": {"file": "{folder}/other"}},
        routes=[{"from": "adt", "to": ["ehr"]}],
        start=False,
    )
    hub.config["destinations"]["other"]["file"] = str(hub.folder / "other")
    hub.write_config()
    hub.start()
    sender = hub.sender("adt")
    sent = [adt() for _ in range(count)]
    for msg in sent:
        expect_ack(sender.exchange(msg), "AA", msg)
    eventually(lambda: hub.destination("ehr")["dead_letters"] == count, f"{count} dead letters were due")
    return hub, sent


@scenario("list and show say what, when and why, and nothing of the content")
def listed():
    with Receiver("AR") as ehr:
        hub, sent = hub_with_dead(ehr, 3)
        with hub:
            page = json.loads(hub.cli("dead", "list", "--json").stdout)
            expect_equal(page["total"], 3, "dead letters listed")
            item = page["items"][0]
            expect_equal(
                (item["destination"], item["bytes"], item["attempts"]),
                ("ehr", len(sent[0]), 1),
                "the first dead letter",
            )
            expect("AR" in json.dumps(item), f"the reason is not told: {item}")
            shown = hub.cli("dead", "show", item["id"]).stdout
            expect("ehr" in shown, f"dead show: {shown}")
            expect(b"Quillfeather" not in (shown + json.dumps(page)).encode(), "the content of a message is shown")
            gone = hub.cli("dead", "show", "0:1", check=False)
            expect_equal(gone.returncode, 4, "exit status for a dead letter that does not exist")
            some = json.loads(hub.cli("dead", "list", "--json", "--limit", "2").stdout)
            expect_equal(len(some["items"]), 2, "items with --limit 2")


@scenario("retry one, then all: delivered when the destination takes them now")
def retried():
    with Receiver("AE") as ehr:
        hub, sent = hub_with_dead(ehr, 10)
        with hub:
            items = json.loads(hub.cli("dead", "list", "--json").stdout)["items"]
            ehr.behaviour = "AA"
            hub.cli("dead", "retry", items[4]["id"])
            eventually(lambda: len(ehr.deliveries) == 11, "the retried message did not come")
            expect(ehr.bodies[10] in sent, "something else was delivered")
            eventually(lambda: hub.destination("ehr")["dead_letters"] == 9, "9 dead letters must be left")
            hub.cli("dead", "retry", "--destination", "ehr")
            ehr.wait_count(20)
            hub.wait_drained()
            eventually(lambda: hub.destination("ehr")["dead_letters"] == 0, "no dead letter must be left")
            expect(sorted(ehr.bodies[10:]) == sorted(sent), "each dead letter must be delivered once")


@scenario("retried and refused again: a dead letter again, no loop")
def refused_again():
    with Receiver("AR") as ehr:
        hub, _ = hub_with_dead(ehr, 2)
        with hub:
            hub.cli("dead", "retry", "--destination", "ehr")
            ehr.wait_count(4)
            eventually(lambda: hub.destination("ehr")["dead_letters"] == 2, "they must be dead letters again")
            hub.wait_drained()
            expect_equal(len(ehr.deliveries), 4, "times sent")


@scenario("discard one, then all: gone, also after a restart, and never delivered")
def discarded():
    with Receiver("AR") as ehr:
        hub, _ = hub_with_dead(ehr, 5)
        with hub:
            items = json.loads(hub.cli("dead", "list", "--json").stdout)["items"]
            hub.cli("dead", "discard", "--yes", items[0]["id"])
            eventually(lambda: hub.destination("ehr")["dead_letters"] == 4, "one must be gone")
            hub.cli("dead", "discard", "--yes", "--destination", "ehr")
            eventually(lambda: hub.destination("ehr")["dead_letters"] == 0, "all must be gone")
            ehr.behaviour = "AA"
            hub.kill9("all")
            hub.start()
            hub.wait_drained()
            expect_equal(hub.destination("ehr")["dead_letters"], 0, "dead letters after the restart")
            expect_equal(len(ehr.deliveries), 5, "times anything was sent")


if __name__ == "__main__":
    main()
