"""Stand-ins of reward servers on this machine, which answer from a card or whatever a test wants."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bradley.model.folder.card import read_card


@contextlib.contextmanager
def server(answer):
    """A stand-in that answers each request with `answer(path, body)`, or refuses with 500 where that is None."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(answer(self.path, None))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            self.reply(answer(self.path, body))

        def reply(self, content):
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(500 if content is None else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", seen
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def reward_server(folder, tokenizer, change=lambda score: score, missing=None):
    """Both contracts, over the scores of a card, found by token ids; messages of other ids score `missing`."""
    known = {tuple(row["ids"]): row["score"] for row in read_card(folder)["parity"]["rows"]}

    def answer(path, body):
        if path == "/v1/models":
            return {"data": [{"id": "served"}]}
        if path == "/get_reward":
            ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in body["query"]]
            return {"rewards": [change(known[tuple(row)]) for row in ids], "scores": [], "extra_logs": {}}
        assert body["model"] == "served" and body["use_activation"] is False
        if "messages" in body:
            ids = tokenizer.apply_chat_template(body["messages"], return_dict=True)["input_ids"]
            return {"data": [{"index": 0, "probs": [change(known.get(tuple(ids), missing))]}]}
        field = {"/classify": "probs", "/pooling": "data"}[path]
        rows = [{"index": i, field: [change(known[tuple(ids)])]} for i, ids in enumerate(body["input"])]
        return {"data": rows[::-1]}

    return answer
