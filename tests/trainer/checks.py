"""Checks that need the heavy stack: each is called in a process of its own by `runs.check`, and fails by raising."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from kit import forks
from kit.chat_models import Family, write_chat_model
from trainer import runs
from tuneline.data.io import read_lines
from tuneline.data.slices import Slice
from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.windows import encode_window
from tuneline_trainer.examples.rows import Plan, Supervise, answers_to_learn, read_examples
from tuneline_trainer.examples.windows import source_of
from tuneline_trainer.model.attention import compile_every_form
from tuneline_trainer.model.base_model import Architecture, BaseModelFacts, read_base_model
from tuneline_trainer.model.head import LOGITS, ChunkedHead
from tuneline_trainer.model.loading import load_model
from tuneline_trainer.model.memory import EAGER_SCORE_BYTES, estimate, kept_per_token, require_memory
from tuneline_trainer.stage import LoraParams, TrainerInputs, TrainerParams
from tuneline_trainer.training import sft
from tuneline_trainer.training.crew import Crew
from tuneline_trainer.training.guard import Guard, Told
from tuneline_trainer.training.peers import Peers
from tuneline_trainer.training.prepare import prepare, settle
from tuneline_trainer.training.shards import shard_base


def ids_are_those_of_transformers(folder: Path, family: Family) -> None:
    write_chat_model(folder, family)
    messages = runs.conversation(5, exchanges=4)
    source = Slice.model_validate(runs.slice_row(1, messages=messages))
    (found,) = encode_window(ChatTokenizer.from_folder(folder), [source.chat])
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, return_dict=False)
    assert found.ids == text


def lose_a_weight(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def break_a_weight(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = math.nan
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def a_process_that_fails_is_told_by_its_type(plan: Path) -> None:
    plan.write_text("nothing that can be unpickled, and what a transcript says")
    told = Told(lambda *_: None, lambda _: None)
    with Crew(1, plan) as crew, pytest.raises(RuntimeError, match="a process of the training failed: UnpicklingError"):
        crew.follow(told)


def a_shard_is_a_part_of_every_layer(base: Path, folder: Path) -> None:
    places = [folder / "part-0", folder / "part-1"]
    others = [forks.start(_hold_a_shard, base, folder / "meeting", rank, places[rank]) for rank in range(2)]
    assert [runs.ended(other) for other in others] == [0, 0]
    first, second = (json.loads(place.read_text()) for place in places)
    assert first == second
    for name, (held, all_of_it) in first.items():
        layer = ".layers." in name and "lora_" not in name
        assert held == (all_of_it // 2 if layer else all_of_it), name


def _hold_a_shard(base: Path, meeting: Path, rank: int, told: Path) -> None:
    """Write how many numbers of each weight this process holds, and how many there are."""
    facts = read_base_model(base)
    model = load_model(settle(TrainerParams(), facts.architecture), facts, whole=False)
    peers = Peers(rank, 2)
    peers.meet(meeting)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert isinstance(tuned, PeftModel)
    shard_base(tuned, peers, torch.device("cpu"))
    weights = tuned.named_parameters()
    held = {name: ((w.to_local() if isinstance(w, DTensor) else w).numel(), w.numel()) for name, w in weights}
    told.write_text(json.dumps(held))


def memory_of_gemma_2_9b() -> None:
    """In 4 bits, at 8,192 tokens: the weights are known to take 6 GiB, and a GPU of 8 GiB does not do."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (256_000, 3584)}
    for layer in range(42):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{n}_proj.weight": (4096 if n == "q" else 2048, 3584) for n in "qkv"}
        shapes |= {f"{at}.mlp.{n}_proj.weight": (14336, 3584) for n in ("gate", "up")}
        shapes |= {f"{at}.self_attn.o_proj.weight": (3584, 4096), f"{at}.mlp.down_proj.weight": (3584, 14336)}
    architecture = Architecture(
        model_type="gemma2", hidden_size=3584, intermediate_size=14336, num_hidden_layers=42,
        num_attention_heads=16, max_position_embeddings=8192, vocab_size=256_000, attn_logit_softcapping=50.0,
    )  # fmt: skip
    setup = TrainingSetup(
        device="cuda", dtype="bf16", quantization="nf4", attention="eager", max_length=8192, threads=1, libraries={}
    )
    needed = estimate(TrainerParams(), setup, BaseModelFacts(Path("base"), architecture, shapes), 8192, 1)
    assert 5.5 < needed.weights / 2**30 < 6.5
    assert needed.adapter == 71_565_312 * 8
    assert 15 < needed.total / 2**30 < 25
    require_memory(needed, 40 * 2**30, setup, 8192)
    with pytest.raises(UserError, match=r"about .* GiB of GPU memory and there is 8\.0 GiB.*flex_att.*shard_base"):
        require_memory(needed, 8 * 2**30, setup, 8192)
    shared = estimate(TrainerParams(), setup, BaseModelFacts(Path("base"), architecture, shapes), 8192, 1, shards=4)
    assert needed.weights - shared.weights == pytest.approx((1 - 1 / 4 - 2 / 42) * 8_323_596_288 / 2, rel=0.01)


def estimate_counts_what_autograd_keeps(base: Path, targets: str, dropout: float) -> None:
    """The tensors of the whole forward pass, each storage once, without the model's own."""
    lora = LoraParams.model_validate({"rank": 2, "dropout": dropout} | ({"targets": targets} if targets else {}))
    facts = read_base_model(base)
    setup = settle(TrainerParams(lora=lora, attention="auto"), facts.architecture)
    names = lora.targets if lora.targets == "all-linear" else list(lora.targets)
    base_model = load_model(setup, facts)
    model = get_peft_model(base_model, LoraConfig(r=2, lora_dropout=dropout, target_modules=names)).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens, layers = 64, facts.architecture.num_hidden_layers
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        base_model.base_model(torch.arange(8, 8 + tokens)[None])
    found = sum(storage.nbytes() for storage in kept.values()) / layers
    expected = tokens * kept_per_token(lora, setup, facts)
    if setup.attention == "eager":
        expected += facts.architecture.num_attention_heads * tokens**2 * EAGER_SCORE_BYTES
    assert found == pytest.approx(expected, rel=0.15), (found, expected)


def adapter_gives_the_validation_loss(base: Path, adapter: Path, slices: Path, reported: float) -> None:
    """The mean over the validation slices of each one's mean, by another way than the trainer's."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
    losses = []
    for row in read_examples(slices, ChatTokenizer.from_folder(base), Plan("new", "slices", 512, 1)).validation:
        ids = torch.tensor(row.ids[: row.length])
        logits = tuned(ids[None]).logits[0, :-1]
        learnt = torch.tensor([at for (start, end), _ in row.learnt for at in range(start, end)])
        losses.append(torch.nn.functional.cross_entropy(logits[learnt - 1], ids[learnt]).item())
    assert sum(losses) / len(losses) == pytest.approx(reported, rel=1e-5)


def gradients_survive_a_validation(base: Path) -> None:
    facts = read_base_model(base)
    model = load_model(settle(TrainerParams(quantization="nf4"), facts.architecture), facts)
    ids = torch.arange(8, 40).unsqueeze(0)

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=embedded, labels=ids).loss.backward()
        assert isinstance(embedded.grad, torch.Tensor)
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.train(False)(ids)
    assert before.abs().max() > 0
    assert torch.equal(gradient(), before)


def gradients_are_those_of_the_slices(folder: Path, base: Path, slices: Path, batching: str) -> None:
    assert difference_of_gradients(folder, base, slices, batching) <= 1e-5


def difference_of_gradients(folder: Path, base: Path, slices: Path, batching: str) -> float:
    """The largest relative difference from those of each slice's own pass, whatever is learnt and however batched."""
    torch.set_num_threads(1)
    largest = 0.0
    for supervise in ("new", "all", "last"):
        wanted: dict[str, torch.Tensor] | None = None
        for batch_size, checkpointing in ((1, False), (1, True), (3, False)):
            params = TrainerParams.model_validate({
                "supervise": supervise, "batching": batching, "batch_size": batch_size, "accumulation": 99,
                "gradient_checkpointing": checkpointing, "lora": {"rank": 4, "dropout": 0},
            })  # fmt: skip
            context = runs.LocalContext(folder / f"{supervise}-{batch_size}-{checkpointing}")
            inputs = TrainerInputs(slices=slices, base_model=base)
            prepared = prepare(params, inputs, context)
            assert prepared.steps_per_epoch == 1
            guard = Guard(prepared, Told(context.progress, lambda _: None), Peers())
            trainer = sft.new_trainer(prepared, context.state, guard)
            model = trainer.model
            assert isinstance(model, PeftModel)
            torch.manual_seed(1)
            trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
            for weight in trained.values():  # the second matrix begins with zeros, and would hide the gradient
                weight.data.normal_(0, 0.1)
            loss = trainer.training_step(model, trainer.data_collator([{"step": 0}]))
            found = {name: weight.grad for name, weight in trained.items()}
            model.zero_grad()
            if wanted is None:
                reference = _loss_of_slices(model, base, slices, params.supervise)
                reference.backward()  # type: ignore[no-untyped-call]
                wanted = {name: weight.grad.clone() for name, weight in trained.items() if weight.grad is not None}
                assert wanted.keys() == trained.keys()
            assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
            for name, gradient in found.items():
                assert gradient is not None
                largest = max(largest, ((gradient - wanted[name]).norm() / wanted[name].norm()).item())
    return largest


def the_heads_gradient_is_that_of_all_logits(softcap: float | None, scale: float) -> None:
    """With a weight for each token; one of them is 0."""
    torch.manual_seed(3)
    size = LOGITS // 40
    head, bias = torch.randn(size, 16) / 10, torch.randn(size)
    targets, weights = torch.randint(size, (100,)), torch.rand(100)
    weights[7] = 0
    found = []
    for chunked in (True, False):
        hidden = torch.randn(100, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
        if chunked:
            log_probs = ChunkedHead.apply(hidden, head, bias, targets, 1.0, 99, softcap, scale)[0]
        else:
            logits = (hidden @ head.T + bias) * scale
            logits = softcap * torch.tanh(logits / softcap) if softcap else logits
            log_probs = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        (log_probs * weights).sum().backward()
        assert hidden.grad is not None
        found.append((log_probs.detach(), hidden.grad))
    for ours, plain in zip(*found, strict=True):
        assert ((ours - plain).norm() / plain.norm()).item() <= 1e-5
    assert not found[0][1][7].any()


def _loss_of_slices(model: torch.nn.Module, base: Path, slices: Path, supervise: Supervise) -> torch.Tensor:
    """By the plain way: every slice rendered, encoded and computed by itself."""
    chat = ChatTokenizer.from_folder(base)
    read = list(read_lines(slices, Slice))
    wanted = dict(answers_to_learn([source_of(source) for source in read], supervise))
    losses, tokens = [], 0
    for source in [source for source in read if source.split == "train"]:
        (encoded,) = encode_window(chat, [source.chat])
        ids = torch.tensor(encoded.ids)
        said = [message for message in source.messages if message.role == "assistant"]
        answers = list(zip(said, encoded.answers, strict=True))[-wanted[source.id] :]
        learnt = torch.tensor([at for m, (start, end) in answers if m.learn for at in range(start, end)])
        logits = model(input_ids=ids[None]).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits[learnt - 1], ids[learnt], reduction="sum"))
        tokens += len(learnt)
    return torch.stack(losses).sum() / tokens


def forms_are_compiled(count: int) -> None:
    """See that torch compiles a function for each of `count` forms of its argument."""
    from torch._dynamo.testing import CompileCounter

    compile_every_form()
    compiled = CompileCounter()
    double = torch.compile(lambda x: 2 * x, backend=compiled, dynamic=False)
    for size in range(2, 2 + count):
        double(torch.ones(size))
    assert compiled.frame_count == count
