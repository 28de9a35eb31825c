"""A short run over every kind, and faults that the harness must find; `make fuzz` runs many inputs."""

import hashlib
import json
import subprocess
import sys

import pytest

from fuzz.drive import ROOT, listen, start
from fuzz.kinds import KINDS, lacking, make

pytest.importorskip("cv2")
INSTALLED = [kind for kind in KINDS if not lacking(kind)]


def outcomes(*arguments: str) -> list[dict]:
    worker = start([sys.executable, *arguments])
    try:
        return [facts for facts in listen(worker) if "begin" not in facts and "made" not in facts]
    finally:
        worker.kill()
        worker.wait()


@pytest.fixture(scope="module")
def short() -> list[dict]:
    return outcomes("-m", "fuzz.worker", ",".join(INSTALLED), "45", "51", "light")


@pytest.mark.parametrize("kind", INSTALLED)
def test_damaged_inputs_are_read_or_refused(kind: str, short: list[dict]) -> None:
    found = [facts for facts in short if facts.get("kind") == kind]
    assert found, short[-1]
    assert [(facts["seed"], facts["text"]) for facts in found if facts["result"] == "finding"] == []
    assert [(facts["seed"], facts["disagreements"]) for facts in found if facts["disagreements"]] == []


def test_both_outcomes_occur_and_pictures_are_compared(short: list[dict]) -> None:
    assert {facts["result"] for facts in short} == {"read", "refused"}
    assert sum(facts["compared"] for facts in short) > 100


FAULTY = """
import ctypes, os, json, sys, tempfile
from pathlib import Path
from fuzz import check, watch
from fuzz.kinds import make

out, noise = watch.quiet()
watch.limit_memory()
checker = check.Checker(Path(tempfile.mkdtemp()).resolve(), noise)
open_source, decode = check.open_source, check.decode
for name, code in json.loads(sys.argv[1]).items():
    def faulty(path, *choice, **options):
        exec(code)
        return open_source(path, *choice, **options)
    check.open_source = faulty
    os.write(out, b'{"made": 0}\\n')
    facts = checker.run(make("png", 50), 50).facts()
    os.write(out, (json.dumps({"seed": 50, "name": name, **facts}) + "\\n").encode())
    check.decode = decode
"""
FAULTS = {
    "nothing": ("pass", ""),
    "traceback": ("raise KeyError('x')", "KeyError"),
    "write": ("Path('../x').write_bytes(b'')", "open "),
    "write in place": ("(path / 'x').mkdir()", "os.mkdir "),
    "write by a library": ("import cv2, numpy; cv2.imwrite('../x.png', numpy.zeros((4, 4)))", "outside of the target"),
    "removal": ("os.remove('../x.png')", "os.remove "),
    "program": ("os.system('true')", "os.system "),
    "connection": ("__import__('socket').socket().connect_ex(('127.0.0.1', 9))", "socket.connect "),
    "pickle": ("__import__('pickle').loads(b'cos\\nsystem\\n.')", "pickle.find_class "),
    "memory": ("bytearray(1300 << 20)", "MiB of memory"),
    "long message": ("raise check.DataError('x' + 9 * '\\n')", "a message of 10 lines"),
    "empty message": ("raise check.DataError('')", "an empty message"),
    "refusal": ("raise check.DataError('no')", "a sound input is refused"),
    "pixels": ("check.decode = lambda data: decode(data).point(lambda value: value ^ 1)", ""),
    "nothing again": ("pass", ""),
}


@pytest.fixture(scope="module")
def faulty() -> dict[str, dict]:
    faults = json.dumps({name: code for name, (code, _) in FAULTS.items()})
    return {facts["name"]: facts for facts in outcomes("-c", FAULTY, faults)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, faulty: dict[str, dict]) -> None:
    text, facts = FAULTS[fault][1], faulty[fault]
    assert text in facts["text"]
    assert facts["result"] == ("finding" if text else "read")
    wrong = [words[:28] for words in facts["disagreements"]]
    assert wrong == (["pixels differ by up to 1 (me"] if fault == "pixels" else [])


@pytest.mark.parametrize(("code", "status"), [("while True: pass", -9), ("ctypes.string_at(0)", -11)])
def test_a_loop_and_a_crash_end_the_process(code: str, status: int) -> None:
    worker = start([sys.executable, "-c", FAULTY, json.dumps({"": code})])
    found = list(listen(worker, 0.1))
    worker.kill()
    assert worker.wait() == status
    assert found[0] == {"made": 0}
    assert [list(facts) for facts in found[1:]] == ([["blocked"]] if status == -9 else [])


def test_an_input_depends_on_its_kind_and_seed_alone() -> None:
    wanted = [(kind, seed) for kind in ("png", "zip", "csv", "store", "lmdb") if not lacking(kind) for seed in (4, 6)]
    code = """
import hashlib
from fuzz.kinds import make
print(hashlib.sha256(repr([make(*one) for one in WANTED]).encode("utf-8", "surrogatepass")).hexdigest())
"""
    own = hashlib.sha256(repr([make(*one) for one in wanted]).encode("utf-8", "surrogatepass")).hexdigest()
    command = [sys.executable, "-c", code.replace("WANTED", repr(wanted))]
    other = subprocess.run(command, env={"PYTHONPATH": "tests"}, cwd=ROOT, capture_output=True, text=True)
    assert other.stdout.strip() == own, other.stderr
