# SPDX-License-Identifier: Apache-2.0
"""`millrace send` and `millrace sink` at both ends of the hub: files of every kind in, the same messages out."""

import json
import re
import subprocess

from millrace_test import CR, MILLRACE, ROOT, Hub, Receiver, expect, expect_equal, main, scenario

MESSAGES = ROOT / "tests" / "messages"


def expected():
    """The messages of tests/messages in order, as they must arrive: CR at line ends, no batch envelopes."""
    found = []
    for path in sorted(MESSAGES.glob("*.hl7")):
        lines = [
            line
            for line in path.read_bytes().replace(b"\n", CR).split(CR)
            if line and line[:3] not in (b"FHS", b"BHS", b"BTS", b"FTS")
        ]
        for line in lines:
            if line[:3] == b"MSH":
                found.append([])
            found[-1].append(line)
    return [CR.join(m) + CR for m in found]


@scenario("a folder of files sent by `millrace send`: summary by code, exit 0, delivered byte for byte and in order")
def folder():
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        wanted = expected()
        expect_equal(len(wanted), 15, "own messages")
        r = subprocess.run(
            [MILLRACE, "send", f"127.0.0.1:{hub.ports['adt']}", str(MESSAGES), "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        expect_equal(r.returncode, 0, f"exit status ({r.stdout}{r.stderr})")
        json.loads(r.stdout)
        ehr.wait_for(wanted)


@scenario("`millrace sink` as the destination: every message in a file of its own, as it was sent")
def sink():
    with Hub(
        listeners={"adt": {}},
        routes=[{"from": "adt", "to": ["ehr"]}],
        destinations={"ehr": {"mllp": "127.0.0.1:1"}},
        start=False,
    ) as hub:
        out = hub.folder / "out"
        out.mkdir()
        process = subprocess.Popen(
            [MILLRACE, "sink", "0", "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            port = re.search(r":(\d+)", process.stdout.readline())[1]
            hub.config["destinations"]["ehr"]["mllp"] = f"127.0.0.1:{port}"
            hub.write_config()
            hub.start()
            subprocess.run(
                [MILLRACE, "send", f"127.0.0.1:{hub.ports['adt']}", str(MESSAGES)],
                capture_output=True,
                timeout=60,
                check=True,
            )
            hub.wait_drained()
            got = [p.read_bytes() for p in sorted(out.iterdir())]
            expect_equal(sorted(got), sorted(expected()), "the sink's files")
        finally:
            process.terminate()
            process.wait(10)


@scenario("exit status of `millrace send`: 12 when some are refused, 1 when all are, 8 when nobody is there")
def statuses():
    with Receiver(lambda d: "AR" if b"ORU" in d.body[:120] else "AA") as some, Receiver("AE") as none:

        def send(port):
            return subprocess.run(
                [MILLRACE, "send", f"127.0.0.1:{port}", str(MESSAGES)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).returncode

        expect_equal((send(some.port), send(none.port)), (12, 1), "exit status: some refused, all refused")
        gone = none.port
        none.stop()
        expect_equal(send(gone), 8, "exit status: nobody listens")


@scenario("the command line finds its hub by --run and by MILLRACE_RUN, and says when there is none")
def finds_hub():
    with Hub(listeners={"adt": {}}) as hub:
        shown = hub.cli("status", "--json")
        expect_equal(json.loads(shown.stdout)["schema"], "millrace.status/1", "schema")
        r = subprocess.run(
            [MILLRACE, "status", "--json"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=hub.environment() | {"MILLRACE_RUN": str(hub.run_folder)},
        )
        expect_equal(r.returncode, 0, f"exit status by MILLRACE_RUN ({r.stderr})")
        r = subprocess.run(
            [MILLRACE, "status", "--run", str(hub.folder / "nowhere")],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        expect_equal(r.returncode, 8, f"exit status without a hub ({r.stderr})")
        expect(r.stderr.strip(), "nothing is said about it")


if __name__ == "__main__":
    main()
