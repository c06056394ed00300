"""Runs in a pod: a writer that takes its time and writes what it is asked for rows to its log, never the text of it."""

import hashlib
import json
import threading
import time
from pathlib import Path

from kit.generating import good, read_of, text
from kit.scripted_openai import Answer, Call, error, serve_openai

REFUSED = Path("/tmp/refused")
LATENCY_S = 0.2


def answer(call: Call) -> Answer:
    prompt, seed = str(call.body["prompt"]), call.body.get("seed")
    refused = REFUSED.exists() and str(seed) in REFUSED.read_text().split()
    if prompt.startswith("Below "):  # the others ask what the server can do
        mark = hashlib.sha256(f"{prompt}/{seed}".encode()).hexdigest()
        row = {"at": time.time(), "seed": seed, "question": mark, "answered": not refused}
        print(json.dumps(row) + "\n", end="", flush=True)  # one write: calls overlap
    return error(401, "invalid_api_key") if refused else text(good(call), latency_s=LATENCY_S, read=read_of(call))


with serve_openai(answer, host="0.0.0.0", port=8000):
    threading.Event().wait()
