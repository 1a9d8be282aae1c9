# SPDX-License-Identifier: Apache-2.0
"""Thousands of connections at once, a limit that holds, and connections that come and go."""

import random
import resource
import selectors

from millrace_test import (
    Failure,
    FrameReader,
    Hub,
    Receiver,
    Sender,
    Skip,
    adt,
    control_id_of,
    eventually,
    expect,
    expect_ack,
    expect_equal,
    frame,
    main,
    scenario,
)


@scenario("1,000 connections at once, each with its messages acknowledged in order", seconds=150)
def thousand():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2200:
        raise Skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        senders = [hub.sender("adt") for _ in range(1000)]
        messages = [[adt() for _ in range(3)] for _ in senders]
        watch = selectors.DefaultSelector()
        for sender, mine in zip(senders, messages):
            sender.socket.setblocking(False)
            sender.socket.send(b"".join(map(frame, mine)))
            watch.register(sender.socket, selectors.EVENT_READ, (sender, mine, FrameReader(), []))
        left = 3 * len(senders)
        while left:
            ready = watch.select(30)
            if not ready:
                raise Failure(f"{left} of {3 * len(senders)} acknowledgements did not come")
            for key, _ in ready:
                sender, mine, reader, got = key.data
                data = sender.socket.recv(65536)
                expect(data, "the hub closed a connection")
                for body in reader.feed(data):
                    fields = body.split(b"MSA|", 1)[1].split(b"\r")[0].split(b"|")
                    expect(
                        fields[0] == b"AA" and fields[1] == control_id_of(mine[len(got)]),
                        "answer out of order or not AA",
                    )
                    got.append(body)
                    left -= 1
        expect_equal(hub.listener("adt")["connections"], 1000, "open connections in the status")
        got = ehr.wait_count(3000, 60)
        place = {m: i for i, m in enumerate(got)}
        for mine in messages:
            at = [place[m] for m in mine]
            expect(at == sorted(at), "messages of one connection were delivered out of order")
        for sender in senders:
            sender.close()
        eventually(lambda: hub.listener("adt")["connections"] == 0, "closed connections are still counted as open")


@scenario("the connection limit refuses further connections, counts them, and takes new ones when there is room")
def limit():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {"connections": 5}},
            destinations={"ehr": ehr},
            routes=[{"from": "adt", "to": ["ehr"]}],
            workers=1,
        ) as hub,
    ):
        inside = [hub.sender("adt") for _ in range(5)]
        for sender in inside:
            msg = adt()
            expect_ack(sender.exchange(msg), "AA", msg)
        for _ in range(3):
            try:
                hub.sender("adt").expect_closed("a connection beyond the limit must be closed at once")
            except ConnectionError:
                pass
        hub.wait_metric("millrace_connections_refused_total", 3, listener="adt")
        msg = adt()
        expect_ack(inside[4].exchange(msg), "AA", msg)
        inside[0].close()

        def room_again():
            sender = hub.sender("adt", timeout=5)
            again = adt()
            try:
                return sender.exchange(again).code == "AA"
            except (Failure, OSError):
                return False

        eventually(room_again, "no connection is taken although there is room again")


@scenario(
    "connections that come and go, with and without goodbye, in the middle of frames: nothing leaks, order is kept"
)
def churn():
    rng = random.Random(7)
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        sent = set()
        for i in range(300):
            sender = Sender(hub.ports["adt"])
            msg = adt()
            expect_ack(sender.exchange(msg), "AA", msg)
            sent.add(msg)
            if i % 3 == 0:
                sender.raw(frame(adt())[: rng.randrange(1, 150)])
            sender.reset() if i % 2 else sender.close()
        got = ehr.wait_count(len(sent))
        expect(set(got) == sent and len(got) == len(sent), "exactly the acknowledged messages are delivered, each once")
        eventually(lambda: hub.listener("adt")["connections"] == 0, "closed connections are still counted as open")


if __name__ == "__main__":
    main()
