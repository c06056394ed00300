"""Runs in a container: a judge that takes a second, and writes the hash of each question it was asked to its log."""

import hashlib
import threading

from kit.scripted_openai import Answer, Call, completion, judged, serve_openai


def answer(call: Call) -> Answer:
    print(hashlib.sha256(call.prompt.encode()).hexdigest() + "\n", end="", flush=True)  # one write: calls overlap
    return completion(judged(call), latency_s=1.0)


with serve_openai(answer, host="0.0.0.0", port=8000):
    threading.Event().wait()
