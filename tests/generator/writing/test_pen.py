"""What is written is kept, with what it took."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import yaml

from kit.generating import RECIPE, good, text
from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, serve_openai
from tuneline_generator.writing.pen import Pen
from tuneline_generator.writing.recipe import InstructionsRecipe
from tuneline_generator.writing.writer import load_writer, open_writer


def test_texts_that_wait_for_each_other_take_no_longer_than_the_server(tmp_path: Path) -> None:
    computing = Lock()

    def one_at_a_time(call: Call) -> Answer:
        with computing:
            time.sleep(0.05)
        return text(good(call))

    recipe, file = InstructionsRecipe.model_validate(RECIPE), tmp_path / "writer.yaml"
    with serve_openai(one_at_a_time) as server, live(tmp_path) as context:
        file.write_text(yaml.safe_dump({"provider": "openai", "model": "m", "base_url": server.url, "dialect": "vllm"}))
        config = load_writer(file, "completion", None)
        with (
            ThreadPoolExecutor(8) as pool,
            open_writer(config, None, context, concurrency=8, timeout_s=10) as writer,
        ):
            pen = Pen(writer, "completion", recipe.steps, context)
            began = time.monotonic()
            texts = list(pool.map(lambda seed: pen.write("response", "Say it.", seed), range(16)))
            took = time.monotonic() - began
            assert 0.9 * 16 * 0.05 < sum(text.seconds for text in texts) < 1.01 * took, "each would count for all"
            assert pen.tally.found_s == 0
            pen.write("response", "Say it.", 3)
            assert pen.tally.found_s == texts[3].seconds
