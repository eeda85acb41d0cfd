import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import numpy as np
import pytest
import uvicorn
from katas.capstone import CONNECTIONS, Bundle, serve
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig
from threadpoolctl import threadpool_info, threadpool_limits

from specs.check import Mismatch, undisturbed
from specs.door import ROOT

pytestmark = pytest.mark.timeout(60)
JSON = {"Content-Type": "application/json"}
LONG = 4000  # tokens, which take a second or more
STEPS = 60  # tokens of a server that takes its time: a second and a half, in which it hardly computes
SLOW = f"""
import sys, time
from katas import capstone
step = capstone.Engine.step
capstone.Engine.step = lambda engine: time.sleep({1.5 / STEPS}) or step(engine)
capstone.main(sys.argv[1:])
"""


class Server:
    """`python -m katas.capstone serve`, in a process of its own, on a port that the system chooses."""

    def __init__(self, folder, *program: str, **environment: str):
        program = program or ("-m", "katas.capstone")
        command = [sys.executable, "-u", *program, "serve", str(folder), "--port", "0"]
        env = {name: value for name, value in os.environ.items() if name != "KATA_API_KEYS"} | environment
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process, self.said = subprocess.Popen(command, cwd=ROOT, env=env, **pipes), ""
        for line in self.process.stdout:
            self.said += line
            if match := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                break
        else:
            raise Mismatch(f"the child process failed:\n{self.said}")
        self._listens = threading.Thread(target=self._listen, daemon=True)
        self._listens.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.said += line

    def ask(self, method: str, path: str, fields: dict | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body, over a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = None if fields is None else json.dumps({"model": "gpt"} | fields)
            connection.request(method, path, body, JSON | headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, **fields) -> dict:
        status, body = self.ask("POST", "/v1/completions", {"prompt": "sea"} | fields)
        assert status == 200, body
        return json.loads(body)

    def figure(self, name: str) -> float:
        """A value of /metrics."""
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.ask("GET", "/metrics")[1].decode(), re.MULTILINE)[1])

    def begin(self, **fields) -> socket.socket:
        """A connection on which a long answer has been asked for, and is being made."""
        body = json.dumps({"model": "gpt", "prompt": "sea", "max_tokens": LONG} | fields)
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
        while not self.figure("kata_running"):
            pass
        return connection

    def ends(self, number: int) -> int:
        """Sends a signal and returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(30)
        self._listens.join()
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle of a small GPT that can write for ever."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
    model = GPT(GPTConfig(262, 64, 1, 2, 16, positions="rotary", window=8), np.random.default_rng(0))
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    Bundle(model, tokenizer).save(path)
    return path


@pytest.fixture(scope="module")
def shared(folder):
    """A server for all specs that leave it as it is."""
    server = Server(folder)
    yield server
    server.kill()


@pytest.fixture
def server(folder):
    """A server that a spec may end."""
    servers = []

    def start(*program, **environment):
        servers.append(Server(folder, *program, **environment))
        return servers[-1]

    yield start
    for one in servers:
        one.kill()


def test_answers_over_a_socket(shared):
    """`serve BUNDLE` listens on 127.0.0.1 and answers: whole, streamed, and with the page."""
    answer = shared.post(seed=3, max_tokens=20)
    status, body = shared.ask("POST", "/v1/completions", {"prompt": "sea", "seed": 3, "max_tokens": 20, "stream": True})
    events = [line.removeprefix("data: ") for line in body.decode().split("\n\n")]
    assert (status, events[-2:]) == (200, ["[DONE]", ""])
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-2])
    assert text == answer["choices"][0]["text"]
    assert shared.ask("GET", "/")[0] == 200
    assert shared.ask("GET", "/v1/models", None, Host="elsewhere.example")[0] == 400


def test_a_client_that_vanishes(shared):
    """A client that closes its connection in the middle of a stream, or while it waits, is not answered to the end."""
    before = shared.figure('kata_tokens_total{kind="completion"}')
    for stream in (True, False):
        shared.begin(stream=stream, n=8).close()
        while shared.figure("kata_running"):
            time.sleep(0.01)
    assert shared.figure('kata_tokens_total{kind="completion"}') - before < 8 * LONG


def test_a_body_of_ten_megabytes(shared):
    """It gets its 413, though it is still being sent."""
    assert shared.ask("POST", "/v1/completions", {"prompt": "x" * 10_000_000})[0] == 413
    shared.post(max_tokens=1)


@pytest.mark.parametrize(
    "garbage", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 99_999, b"POST /v1/completions HTTP/1.1\r\n"]
)
def test_garbage(garbage, shared):
    """Whatever a client sends, others are served."""
    with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as connection:
        connection.sendall(garbage)
        shared.post(max_tokens=1)


def test_too_many_connections(shared):
    """With CONNECTIONS at a time, one more is 503; when they are closed, it is served again."""
    connections = [socket.create_connection(("127.0.0.1", shared.port), timeout=30) for _ in range(CONNECTIONS)]
    try:
        assert shared.ask("GET", "/healthz/live")[0] == 503
    finally:
        for connection in connections:
            connection.close()
    while shared.ask("GET", "/healthz/live")[0] == 503:
        time.sleep(0.01)
    shared.post(max_tokens=1)


def test_keys_of_the_environment(server):
    """KATA_API_KEYS has the keys, between commas. What the server writes has none. SIGINT ends it without a traceback."""
    one = server(KATA_API_KEYS="alpha-secret, beta-secret")
    statuses = [one.ask("GET", "/metrics", None, Authorization=f"Bearer {key}-secret")[0] for key in ("alpha", "beta", "gamma")]
    assert statuses == [200, 200, 401]
    one.ends(signal.SIGINT)
    assert "secret" not in one.said
    assert "Traceback" not in one.said


def test_serve_returns(folder):
    """serve(bundle, host, port, keys, hosts) serves until a signal comes, and returns when all is done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen = []

    def ask(host: str) -> int | None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/v1/models", headers={"Host": host, "Authorization": "Bearer alpha"})
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def client() -> None:
        while ask("model.example") is None:
            time.sleep(0.01)
        seen.extend([ask("model.example"), ask("elsewhere.example")])
        os.kill(os.getpid(), signal.SIGTERM)
        while ask("model.example") is not None:
            time.sleep(0.01)

    thread, before = threading.Thread(target=client, daemon=True), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        thread.start()
        serve(Bundle.load(folder), "127.0.0.1", port, ["alpha"], ["model.example"])
    finally:
        signal.signal(signal.SIGTERM, before)
    thread.join(30)
    assert seen == [200, 400]


def test_serve_by_default(folder, monkeypatch):
    """serve(bundle) listens on 127.0.0.1, port 8000, unless it is told otherwise. Nothing else of the process is changed."""
    configs = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, *arguments: configs.append(self.config))
    with undisturbed():
        serve(Bundle.load(folder))
        serve(hosts=["model.example"], keys=["alpha"], port=np.int64(81), host="192.0.2.7", bundle=Bundle.load(folder))
    assert [(config.host, config.port) for config in configs] == [("127.0.0.1", 8000), ("192.0.2.7", 81)]


def test_products_use_one_thread(folder, monkeypatch):
    """While it serves, and as many as before afterwards."""
    threads = []

    def blas(*arguments):
        threads.append([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])

    monkeypatch.setattr(uvicorn.Server, "run", blas)
    with threadpool_limits(2, "blas"):
        serve(Bundle.load(folder))
        blas()
    assert set(threads[0]) == {1}
    assert set(threads[1]) == {2}


def test_sigterm(server):
    """After SIGTERM, readiness is 503 for a second, in which the socket is open and requests are accepted. Then no connection
    is. All accepted requests are finished, streams too, and the process ends.
    """
    one, answers = server("-c", SLOW), []
    threads = [threading.Thread(target=lambda: answers.append(one.post(max_tokens=STEPS, n=8))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while one.figure("kata_running") < 16:
        time.sleep(0.05)
    with one.begin(stream=True, max_tokens=STEPS) as stream:
        one.process.send_signal(signal.SIGTERM)
        begun, times = time.monotonic(), {}
        while True:
            try:
                status = one.ask("GET", "/healthz/ready")[0]
            except OSError:  # no connection
                break
            if status not in times and status == 503:
                threads.append(threading.Thread(target=lambda: answers.append(one.post(max_tokens=1, n=1))))
                threads[-1].start()
            times.setdefault(status, time.monotonic() - begun)
            time.sleep(0.05)
        closed, text = time.monotonic() - begun, b""
        while part := stream.recv(1 << 16):
            text += part
    for thread in threads:
        thread.join()
    one.process.wait(30)
    assert {*times} <= {200, 503}
    assert 503 in times
    assert closed > 0.9
    assert b"[DONE]" in text[-60:]
    assert text.count(b"data: ") > STEPS / 3
    assert sorted(answer["usage"]["completion_tokens"] for answer in answers) == [1, 8 * STEPS, 8 * STEPS]
    assert "Traceback" not in one.said
