"""Answers of a reward server of every shape and size: scores, or an error of one line, in time."""

import contextlib
import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import BradleyError, CheckpointError, UserError
from bradley.verify import server as client
from bradley.verify.server import Question, ask
from tests.export.hub_server import http

QUESTIONS = [Question([1, 2], "a"), Question([3], "b")]


@contextlib.contextmanager
def answering(raw):
    """A server that answers each request with these bytes; None: a byte now and then, without end."""
    listener = socket.create_server(("127.0.0.1", 0))
    closed = threading.Event()

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                received = connection.recv(2**16)
                if raw is None:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not closed.wait(0.02):
                        connection.sendall(b"X")
                else:
                    connection.sendall(raw)
                    # A close with unread bytes resets the connection, and the client may lose the answer: the body of
                    # the request, which may come in a packet of its own, is read up to the end of the client.
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(5)
                    while received:
                        received = connection.recv(2**16)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closed.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def refused(raw, path="/get_reward"):
    with answering(raw) as url, pytest.raises((CheckpointError, UserError)) as caught:
        ask(url + path, QUESTIONS)
    error = caught.value
    assert error.message.isprintable() and len(error.message) < 600 and error.hint
    return error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"12",
        b'{"rewards": "12"}',
        b'{"rewards": {"0": 1, "1": 2}}',
        b'{"rewards": ["1", "2"]}',
        b'{"rewards": [true, false]}',
        b'{"rewards": [1, 2, 3]}',
        b'{"rewards": [1, NaN]}',
        b'{"rewards": [1, 1e999]}',
        b'{"rewards": [1, 1' + b"0" * 400 + b"]}",
        b'{"rewards": [1, 1' + b"0" * 9000 + b"]}",
        b"[" * 100_000,
        b"<html>\x1b[2J\n</html>",
        b"\xff\xfe",
        b" " * (2**24 + 1),
    ],
    ids=range(18),
)
def test_a_body_without_the_scores_is_an_error(body):
    assert refused(http(body)).exit_code == 4


@pytest.mark.parametrize(
    "data",
    [
        [],
        [1, 2],
        [{"index": 0, "probs": [1.0]}, {"index": 0, "probs": [2.0]}],
        [{"index": 1, "probs": [1.0]}, {"index": 2, "probs": [2.0]}],
        [{"index": "0", "probs": [1.0]}, {"index": "1", "probs": [2.0]}],
        [{"index": 0, "probs": []}, {"index": 1, "probs": [2.0]}],
        [{"index": 0, "probs": 1.0}, {"index": 1, "probs": 2.0}],
        [{"probs": [1.0]}, {"probs": [2.0]}],
    ],
)
def test_rows_that_cannot_be_told_apart_are_an_error(data, monkeypatch):
    monkeypatch.setattr(client, "_served", lambda url: "m")
    assert "wanted 2 scores" in refused(http(json.dumps({"data": data}).encode()), "/classify").message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x01",
        http(b"{}", length=500),
        http(b"", "302 Found", "Location: /get_reward"),
        http(b"", "302 Found", "Location: file:///etc/passwd"),
        http(b"a\x1b[2J\nhint: x" * 10_000, "500 Broken"),
        http(b"x", "404 Not Found", length=900),
        http(b"x", "600 Odd"),
        http(b"{}", "200 OK", *[f"X-{i}: y" for i in range(300)]),
    ],
    ids=range(9),
)
def test_what_is_no_answer_is_an_error(raw):
    assert refused(raw).exit_code in (2, 4)


def test_a_server_that_drips_is_given_up(monkeypatch):
    monkeypatch.setattr(client, "SECONDS", 0.5)
    began = time.monotonic()
    assert "no answer within" in refused(None).message and time.monotonic() - began < 20


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/get_reward",
        "http://x:99999999/get_reward",
        "http://x:y/get_reward",
        "http:///get_reward",
        "http://a b/get_reward",
        "http://" + "a" * 300 + "/get_reward",
        "http://\u2100/get_reward",
        "http://127.0.0.1:1/\x1b[2J\n/get_reward",
        "ftp://x/get_reward",
    ],
)
def test_an_odd_address_is_an_error_of_one_line(url):
    with pytest.raises(UserError) as caught:
        ask(url, QUESTIONS)
    assert caught.value.message.isprintable() and len(caught.value.message) < 700


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rewards", "data", "x"]), inner),
    max_leaves=8,
)


@given(answer=values)
def test_generated_answers_give_scores_or_an_error(answer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_call", lambda url, body: answer)
        for path in ("get_reward", "classify", "pooling"):
            try:
                assert len(ask(f"http://x/{path}", QUESTIONS)) == 2
            except BradleyError as error:
                assert error.message.isprintable() and error.exit_code == 4
