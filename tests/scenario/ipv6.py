# SPDX-License-Identifier: Apache-2.0
"""IPv6 and IPv4: listeners on either or both, destinations on either, by address and by name."""

import socket

from millrace_test import Failure, Hub, Receiver, Sender, Skip, adt, expect_ack, main, scenario


def need_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError as e:
        raise Skip(f"no IPv6 here: {e.strerror}") from None


@scenario("a listener on :: takes both, one on ::1 only IPv6, one on 127.0.0.1 only IPv4")
def listeners():
    need_ipv6()
    with (
        Receiver() as ehr,
        Hub(
            listeners={"both": {"address": "::"}, "six": {"address": "::1"}, "four": {"address": "127.0.0.1"}},
            destinations={"ehr": ehr},
            routes=[{"from": "*", "to": ["ehr"]}],
        ) as hub,
    ):
        sent = []
        for listener, host in (("both", "::1"), ("both", "127.0.0.1"), ("six", "::1"), ("four", "127.0.0.1")):
            msg = adt()
            expect_ack(hub.sender(listener, host=host).exchange(msg), "AA", msg)
            sent.append(msg)
        for listener, host in (("six", "127.0.0.1"), ("four", "::1")):
            try:
                Sender(hub.ports[listener], host=host)
            except ConnectionRefusedError:
                continue
            raise Failure(f"listener {listener} took a connection to {host}")
        ehr.wait_count(4)


@scenario("destinations by IPv6 address and by host name")
def destinations():
    need_ipv6()
    with (
        Receiver(host="::1") as six,
        Receiver() as named,
        Hub(
            listeners={"adt": {}},
            destinations={"six": six, "named": {"mllp": f"localhost:{named.port}"}},
            routes=[{"from": "adt", "to": ["six", "named"]}],
        ) as hub,
    ):
        sent = [adt() for _ in range(20)]
        sender = hub.sender("adt")
        sender.send(*sent)
        sender.answers(20)
        six.wait_for(sent)
        named.wait_for(sent)


if __name__ == "__main__":
    main()
