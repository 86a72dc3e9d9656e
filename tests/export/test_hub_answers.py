"""Answers of a Hub of every status and shape: an error of one line with exit code 9, in time, without token."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bradley
from bradley.common import signals
from bradley.common.signals import StopRequested, listening
from bradley.errors import BradleyError, HubError, Preempted, UserError
from bradley.export import hub as client
from bradley.export.hub import check_hub, push
from tests.export.hub_server import SILENCE, TOKEN, USER, http, running
from tests.helpers import counting_rows, tiny_run

WHOAMI = "/api/whoami-v2"


@pytest.fixture(scope="module")
def hub():
    with pytest.MonkeyPatch.context() as patch, running() as hub:
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        patch.setattr("time.sleep", lambda seconds: None)  # the client pauses before it tries again
        yield hub
    hub.raw.clear()


def refused(hub, raw, act=lambda: check_hub("ada/rm"), kinds=HubError):
    """The error by which a check of the Hub ends."""
    hub.raw = raw
    try:
        with pytest.raises(kinds) as caught:
            act()
    finally:
        hub.raw = {}
    error = caught.value
    for text in (error.message, error.hint):
        assert text and text.isprintable() and TOKEN not in text and len(text) < 700
    return error


WRONG = {
    "null": b"null",
    "empty": b"{}",
    "nothing": b"",
    "auth null": json.dumps(USER | {"auth": None}).encode(),
    "auth text": json.dumps(USER | {"auth": "yes"}).encode(),
    "token null": json.dumps(USER | {"auth": {"accessToken": None}}).encode(),
    "role list": json.dumps(USER | {"auth": {"accessToken": {"role": ["read"]}}}).encode(),
    "orgs null": json.dumps(USER | {"orgs": None}).encode(),
    "orgs of text": json.dumps(USER | {"orgs": ["lab"]}).encode(),
    "name number": json.dumps(USER | {"name": 7}).encode(),
    "list": b"[1, 2]",
    "text": b'"ada"',
    "page": b"<html>\n<title>Sign in\x1b[2J</title>\n</html>",
    "deep": b"[" * 100_000,
    "digits": b"1" * 10_000,
    "binary": bytes(range(256)),
    "not UTF-8": b'{"name": "\xff\xfe"}',
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_body_that_describes_no_user_is_an_error_of_the_hub(hub, body):
    assert refused(hub, {WHOAMI: http(body)}).exit_code == 9


STATUSES = ["301 Moved", "400 Bad", "404 Not Found", "418 Teapot", "429 Slow", "500 Broken", "503 Busy", "599 Odd"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", [b"{}", b'{"error": "you sent {token}\\nhint: rm -rf"}'], ids=["bare", "echo"])
def test_a_refusal_of_any_status_is_an_error_of_the_hub(hub, status, body):
    # 100 years: a pause that the Hub asks for is cut.
    raw = http(body, status, "Location: /api/whoami-v2", "Retry-After: 3153600000", length=len(body) + 1000)
    assert refused(hub, {WHOAMI: raw.replace(b"Content-Length", b"X-Length")}).exit_code == 9


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x01\x02",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        http(b'{"name": "ada"', length=5000),
        http(b"x" * 1000, "200 OK", "Content-Encoding: gzip"),
        http(b"", "302 Found", "Location: /api/whoami-v2"),
        http(b"", "302 Found", "Location: file:///etc/passwd"),
        http(b" " * (2**24 + 1)),
        http(b"{}", "200 OK", *[f"X-{i}: {'y' * 900}" for i in range(200)]),
    ],
    ids=["closed", "bytes", "ssh", "cut", "gzip", "loop", "file", "large", "headers"],
)
def test_what_is_no_answer_is_an_error_of_the_hub(hub, raw):
    assert refused(hub, {WHOAMI: raw}).exit_code == 9


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_generated_answers_pass_or_are_an_error_of_one_line(hub, data):
    """A description of a user with one part replaced, or any value at all."""
    user = json.loads(json.dumps(USER))
    place = data.draw(st.sampled_from(["", "name", "orgs", "auth", "accessToken", "role", "org", "org name"]))
    value = data.draw(json_values)
    owners = {
        "accessToken": user["auth"],
        "role": user["auth"]["accessToken"],
        "org": user["orgs"],
        "org name": user["orgs"][0],
    }
    owners.get(place, user)[{"org": 0, "org name": "name"}.get(place, place)] = value
    hub.raw = {WHOAMI: http(json.dumps(user if place else value).encode())}
    try:
        check_hub("ada/rm")
    except (HubError, UserError) as error:
        assert error.message.isprintable() and error.hint and len(error.message) < 3000
    finally:
        hub.raw = {}


@pytest.mark.parametrize("body", [b"null", b"{}", b"[]", b'{"private": "no"}', b'{"private": null}', b"<html>"])
def test_a_repository_described_in_another_way_is_an_error_of_the_hub(hub, body):
    assert refused(hub, {"/api/models/": http(body)}, lambda: check_hub("ada/rm", private=True)).exit_code == 9


@pytest.mark.parametrize("stage", ["/api/repos/create", "/api/validate-yaml", "/preupload/", "/commit/"])
@pytest.mark.parametrize(
    "raw", [http(b"null"), http(b"[1]"), http(b"<html>"), http(b"{}", length=9), http(b"?", "400 Bad")]
)
def test_an_odd_answer_during_an_upload_is_an_error_of_the_hub(hub, tmp_path, stage, raw):
    (tmp_path / "README.md").write_text("---\nlibrary_name: transformers\n---\n")
    hub.files, hub.private = {}, {}
    error = refused(hub, {stage: raw}, lambda: push(tmp_path, "ada/rm"))
    assert error.exit_code == 9 and "could not be uploaded" in error.message


@pytest.mark.parametrize(("place", "private"), [(WHOAMI, False), (WHOAMI, True), ("/api/models/", True)])
def test_a_hub_that_never_answers_is_given_up_and_the_wait_is_told(hub, monkeypatch, place, private):
    monkeypatch.setattr(client, "CHECK_SECONDS", 0.4)
    monkeypatch.setattr("bradley.common.deadline.NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(client.ask, "__kwdefaults__", {**client.ask.__kwdefaults__, "seconds": 0.4})
    told = []
    error = refused(hub, {place: SILENCE}, lambda: check_hub("ada/rm", private, told.append))
    assert "no answer within" in error.message and set(told) == {"asking the Hub ..."}


@pytest.mark.parametrize("stage", ["/api/repos/create", "/preupload/", "/commit/"])
def test_an_upload_to_a_hub_that_falls_silent_ends(hub, tmp_path, monkeypatch, stage):
    hub.files, hub.private = {}, {}
    monkeypatch.setattr(client, "UPLOAD_SECONDS", 0.2)
    (tmp_path / "a.txt").write_text("a")
    error = refused(hub, {stage: SILENCE}, lambda: push(tmp_path, "ada/rm"))
    assert "could not be uploaded" in error.message


def test_a_stop_signal_ends_the_wait_for_the_hub(hub, tmp_path):
    """Also in `bradley.train`, where no command line has set a handler."""
    hub.raw = {WHOAMI: SILENCE}
    rows = counting_rows(20)
    settings = {**tiny_run(), "hub": {"push": "ada/rm"}}

    def ask():
        hub.calls.clear()
        while not hub.calls:
            time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        for act, kind in (
            (lambda: check_hub("ada/rm"), StopRequested),
            (lambda: bradley.train(settings, train=rows, output=tmp_path / "run"), Preempted),
        ):
            with listening() if kind is StopRequested else contextlib.nullcontext():
                threading.Thread(target=ask).start()
                with pytest.raises(kind, match="SIGTERM"):
                    act()
    finally:
        hub.raw = {}
    assert not (tmp_path / "run").exists() and signals.requested() == ""


def test_the_clients_own_settings_are_as_before(hub):
    from huggingface_hub import get_session

    check_hub("ada/rm")
    assert get_session().timeout.read is None and get_session().event_hooks["response"] == []


def test_a_token_of_a_file_is_kept_out_of_messages(hub, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("plainsecretword\n")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    error = refused(hub, {WHOAMI: http(b'{"error": "bad {token}"}', "500 Broken")})
    assert "plainsecretword" not in error.message and isinstance(error, BradleyError)
