# SPDX-License-Identifier: Apache-2.0
"""A wrong configuration is told completely before anything starts: file, line, column, code, what is legal, what was
meant."""

import json
import pathlib
import re
import subprocess
import tempfile

from millrace_test import MILLRACE, Hub, Receiver, adt, expect, expect_ack, expect_equal, free_port, main, scenario

# The example of the first issue, as it stands.
SAMPLE = """\
data: ./data            # journals
run: ./run              # sockets, shared regions
workers: 2
commit: durable         # or os (page cache), for measurement
metrics: { address: 127.0.0.1, port: 9464 }
listeners:
  adt:   { port: 2575 }
  lab:   { address: "::", port: 2576, max_frame: 32MiB, idle_timeout: 10min }
destinations:
  ehr:     { mllp: "127.0.0.1:6661", connections: 2, ack_timeout: 5s, retry: { first: 100ms, max: 30s, attempts: 0 } }
  lab_sys: { mllp: "127.0.0.1:6662", on_reject: dead_letter }
  archive: { file: ./archive, format: hl7 }
routes:
  - { from: adt, to: [ehr, archive] }
  - { from: lab, when: 'MSH-9.1 == "ORU" && PV1-2 in ["I","E"]', to: [lab_sys] }
  - { from: lab, to: [archive] }
"""


def check(text, *arguments, name="hub.yaml"):
    """Returns (exit status, output) of `millrace config check`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_text(text)
        r = subprocess.run(
            [MILLRACE, "config", "check", *arguments, str(path)],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=30,
            check=False,
        )
        return r.returncode, (r.stdout + r.stderr).replace(folder + "/", "")


def with_change(old, new):
    expect(old in SAMPLE, f"the sample has no {old!r}")
    return SAMPLE.replace(old, new)


@scenario("the sample is right as it stands")
def sample():
    code, output = check(SAMPLE)
    expect_equal(code, 0, f"exit status ({output})")


@scenario("the sample runs as it stands, with ports from the environment")
def sample_runs():
    with Receiver() as ehr:
        ports = {n: free_port() for n in ("adt", "lab", "metrics")}
        env = {
            "MILLRACE_LISTENERS_ADT_PORT": str(ports["adt"]),
            "MILLRACE_LISTENERS_LAB_PORT": str(ports["lab"]),
            "MILLRACE_METRICS_PORT": str(ports["metrics"]),
            "MILLRACE_DESTINATIONS_EHR_MLLP": ehr.address,
        }
        hub = Hub(
            text=SAMPLE.replace("./data", "{data}")
            .replace("run: ./run", "run: {run}")
            .replace("./archive", "{data}/archive"),
            env=env,
            start=False,
        )
        hub.metrics_port = ports["metrics"]
        hub.ports = ports
        with hub:
            hub.start()
            msg = adt()
            expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
            ehr.wait_for([msg])
            expect_ack(hub.sender("lab", host="::1").exchange(adt()), "AA")


@scenario("each mistake: exit 3, its place, a code, and what was probably meant")
def mistakes():
    for what, text, at, words in (
        ("unknown key", with_change("ack_timeout", "ack_timout"), 10, ["ack_timeout"]),
        ("unknown destination", with_change("to: [ehr, archive]", "to: [erh, archive]"), 14, ["erh", "ehr"]),
        ("unknown listener", with_change("from: adt", "from: atd"), 14, ["atd", "adt"]),
        ("bad unit", with_change("10min", "10parsecs"), 8, ["10parsecs"]),
        ("no unit", with_change("ack_timeout: 5s", "ack_timeout: 5"), 10, ["5"]),
        ("bad choice", with_change("commit: durable", "commit: maybe"), 4, ["durable", "os"]),
        ("port out of range", with_change("port: 2575", "port: 99999"), 7, ["99999"]),
        ("port clash", with_change("port: 2576", "port: 2575"), 8, ["2575"]),
        ("port clash with metrics", with_change("adt:   { port: 2575 }", "adt: { port: 9464 }"), None, ["9464"]),
        ("duplicate key", with_change("workers: 2", "workers: 2\nworkers: 3"), 4, ["workers"]),
        ("bad path", with_change("MSH-9.1", "MSH-9.x"), 15, ["MSH-9.x"]),
        ("bad condition", with_change(" && PV1-2", " && && PV1-2"), 15, []),
        ("no port", with_change("adt:   { port: 2575 }", "adt:   { }"), 7, ["port"]),
        ("not YAML", with_change("workers: 2", "workers: [2"), None, []),
    ):
        code, output = check(text)
        expect_equal(code, 3, f"{what}: exit status ({output})")
        m = re.search(r"hub\.yaml:(\d+):(\d+): error\[MR\d{4}\]: .", output)
        expect(m, f"{what}: no file:line:column: error[MRnnnn] in: {output}")
        expect(
            at is None or any(int(x) == at for x in re.findall(r"hub\.yaml:(\d+):\d+: error", output)),
            f"{what}: line {at} was due: {output}",
        )
        for word in words:
            expect(word in output, f"{what}: the output does not name {word}: {output}")


@scenario("all mistakes are told at once")
def all_at_once():
    text = (
        with_change("ack_timeout", "ack_timout").replace("10min", "10parsecs").replace("to: [archive]", "to: [archiv]")
    )
    code, output = check(text)
    expect_equal(code, 3, "exit status")
    lines = {int(x) for x in re.findall(r"hub\.yaml:(\d+):\d+: error", output)}
    expect({8, 10, 16} <= lines, f"errors in lines 8, 10 and 16 were due: {output}")


@scenario("an unreachable route and a destination that no route uses are told")
def warnings():
    text = with_change("routes:", "routing: first\nroutes:").replace(
        "- { from: lab, when", "- { from: lab, to: [archive] }\n  - { from: lab, when"
    )
    _, output = check(text)
    expect(re.search(r"(warning|error)\[MR\d{4}\]", output), f"the unreachable route is not told: {output}")
    _, output = check(with_change("to: [lab_sys]", "to: [archive]"))
    expect("lab_sys" in output and "warning" in output, f"the unused destination is not told: {output}")


@scenario("JSON is read as well, and --format json gives one object")
def json_form():
    text = json.dumps({"listeners": {"adt": {"port": 2575, "max_fram": "1MiB"}}, "routes": []}, indent=1)
    code, output = check(text, name="hub.json")
    expect(code == 3 and "max_frame" in output, f"the JSON file: {output}")
    code, output = check(text, "--format", "json", name="hub.json")
    expect_equal(code, 3, "exit status")
    expect("max_fram" in json.dumps(json.loads(output)), "the JSON report names the key")


@scenario("a hub does not start with a wrong configuration: exit 3, the mistakes told, nothing left behind")
def no_start():
    hub = Hub(
        text=with_change("ack_timeout", "ack_timout").replace("./data", "{data}").replace("run: ./run", "run: {run}"),
        start=False,
    )
    with hub:
        hub.start(wait=False)
        expect_equal(hub.process.wait(20), 3, "exit status")
        hub.process = None
        expect("ack_timeout" in hub.log_tail(), f"the mistake is not told: {hub.log_tail()}")
        expect(not hub.data_folder.exists(), "a data folder was made although the configuration is wrong")


@scenario("a port that somebody else has: told with listener, address and port; the hub does not start")
def port_taken():
    with Receiver() as thief:
        hub = Hub(listeners={"adt": {"port": thief.port}}, start=False)
        with hub:
            hub.start(wait=False)
            code = hub.process.wait(30)
            hub.process = None
            expect(code not in (0, 3), f"exit status {code}")
            tail = hub.log_tail()
            expect("adt" in tail and str(thief.port) in tail, f"the log does not say which listener: {tail}")


if __name__ == "__main__":
    main()
