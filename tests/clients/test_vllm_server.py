"""A vLLM server on this machine: the request of the card gives the score of bradley, and `verify --against` passes."""

import json
import re
import shlex
import socket
import subprocess
import time
from urllib.request import Request, urlopen

import pytest

import bradley
from bradley.verify import verify

pytestmark = [pytest.mark.nightly, pytest.mark.transformers]
SECONDS = 900
MODULE = "vllm.entrypoints.openai.api_server"


@pytest.fixture(scope="module", params=["qwen2 float32", "gemma3 float32"])
def folder(request, folders):
    return folders[request.param]


@pytest.fixture(scope="module")
def url(folder, python_for, tmp_path_factory):
    """Address of a server of the export, with the options of its card."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    card = (folder / "README.md").read_text(encoding="utf-8")
    name, *shown = shlex.split(re.search(r"^vllm serve (.*)$", card, flags=re.MULTILINE)[1])
    here = ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(python_for("vllm")), "-m", MODULE, "--model", name, *shown, *here],
            cwd=folder.parent,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/bin:/bin",
                "HF_HUB_OFFLINE": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "HOME": str(log.parent),
            },
        )
    try:
        end = time.monotonic() + SECONDS
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def answers(address):
    try:
        with urlopen(address, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def test_the_request_of_the_card_gives_the_score(url, folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    asked = json.loads(re.search(r"/classify .*?-d '(.*?)'", text, flags=re.DOTALL)[1])
    body = json.dumps(asked).encode()
    with urlopen(Request(f"{url}/classify", body, {"Content-Type": "application/json"})) as reply:
        found = json.load(reply)["data"][0]["probs"][0]
    (wanted,) = bradley.RewardModel.from_pretrained(folder).score([asked["messages"]])
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("path", ["/classify", "/pooling"])
def test_verify_passes_by_token_ids_and_by_messages(url, folder, path):
    checks = verify(folder, url + path)
    assert len(checks) == (3 if path == "/classify" else 2) and max(check.largest for check in checks) < 3e-5
