#!/usr/bin/env python3
"""make_text.py - makes the golden cases of decoders alone (text-*): tiny random checkpoints, inputs, and what PyTorch and Transformers say of them.

Needs torch, transformers, sentencepiece, safetensors; writes the folders text-* beside itself. Everything is fp32 on one thread.

    model/                       the checkpoint, with the tokenizer of llava15-hub
    pairs.jsonl                  question, chosen, rejected
    expect/forward.safetensors   ids of the first pair's prompt (so many: `prompt`) and chosen answer; logits of the answer's rows
    expect/score.jsonl           prompt ids, response ids (with </s>), log-probs of them (float64 softmax of fp32 logits) and their sums
    expect/greedy.jsonl          greedy ids, ended by any of the ids that end; the smallest gap between the first two logits; p(yes), p(no)
    expect/dpo.json              8 steps of DPO with all settings, the log of each; grad_step0.safetensors, the gradients of the first;
                                 dpo_final.safetensors, the weights after the last, of one case
    case.json                    facts, the rotary frequencies among them
"""
import json
import math
import pathlib
import shutil

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
TOKENIZER = HERE / "llava15-hub" / "model" / "tokenizer.model"
PROMPT = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
          "answers to the user's questions. USER: {question} ASSISTANT:")
BETA, LR, WARMUP, STEPS, BATCH, DECAY = 0.1, 5e-4, 2, 8, 2, 0.01
MAX_NEW = 16

# config: as a hub file would say it, in older and newer spellings. ends: how many ids beside </s> end an answer; the first stands in
# config.json, all of them in generation_config.json. final: whether the weights after training are kept.
CASES = {
    "text-llama3": {
        "seed": 31, "ends": 2, "final": False,
        "config": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 64},
            "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
        },
    },
    "text-mistral": {
        "seed": 32, "ends": 0, "final": False,
        "config": {
            "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 24, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "max_position_embeddings": 512, "sliding_window": 128, "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "tie_word_embeddings": False,
        },
    },
    "text-qwen2": {
        "seed": 33, "ends": 0, "final": True,
        "config": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
            "sliding_window": 64, "use_sliding_window": False, "max_window_layers": 2, "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0, "tie_word_embeddings": True,
        },
    },
}

QUESTIONS = ["What is a tree?", "Is the cup red? Please answer yes or no.", "Describe the table.", "Where is the dog?"]
COLOURS, THINGS = ["red", "blue", "green"], ["cup", "tree", "car", "dog", "cat", "table", "chair", "person"]


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def pairs_make(generator):
    def draw(list_):
        return list_[int(torch.randint(len(list_), (1,), generator=generator))]

    def sentences(n):
        return " ".join(f"There is a {draw(COLOURS)} {draw(THINGS)} next to the {draw(THINGS)}." for _ in range(n))

    return [{"question": QUESTIONS[i % len(QUESTIONS)], "chosen": sentences(1 + i % 2), "rejected": sentences(1 + (i + 1) % 3)} for i in range(8)]


def weights_fill(model, generator):
    """Products by fan-in, smaller where they end in the stream; biases and norms away from 0 and 1, so that nothing that is left out goes
    unseen. Logits of a size whose bf16 errors are like those of the other golden cases."""
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=generator)
        if "embed_tokens" in name or "lm_head" in name:
            p.data = 0.2 * x
        elif name.endswith("bias"):
            p.data = 0.5 * x
        elif p.ndim == 1:
            p.data = 1 + 0.1 * x
        else:
            p.data = x * (0.3 if "o_proj" in name or "down_proj" in name else 1.0) / math.sqrt(p.shape[1])


def row_logps(logits, ids, first):
    """Log-probs of ids[first:] (float64), given the logits (n, V) of all rows but the last."""
    wide = torch.log_softmax(logits[first - 1:-1].double(), -1)
    return wide.gather(1, torch.tensor(ids[first:])[:, None])[:, 0]


def forward(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0]


def greedy(model, prompt, vocabulary, ends):
    ids, gap = list(prompt), math.inf
    while len(ids) < len(prompt) + MAX_NEW:
        with torch.no_grad():
            logits = forward(model, ids)[-1, :vocabulary]
        top = torch.topk(logits, 2)
        gap = min(gap, float(top.values[0] - top.values[1]))
        ids.append(int(top.indices[0]))
        if ids[-1] in ends:
            break
    return ids[len(prompt):], gap


def dpo(model, rows, encode, keep_final):
    with torch.no_grad():
        ref = [[float(row_logps(forward(model, p + a), p + a, len(p)).sum()) for a in answers] for p, answers in rows]
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=LR,
                                  betas=(0.9, 0.999), eps=1e-8)
    log, first = [], None
    for step in range(STEPS):
        lr = LR * step / WARMUP if step < WARMUP else LR * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        total, sums = 0.0, []
        for i in range(BATCH):
            at = (step * BATCH + i) % len(rows)
            prompt, answers = rows[at]
            policy = [torch.log_softmax(forward(model, prompt + a)[len(prompt) - 1:-1], -1).gather(1, torch.tensor(a)[:, None]).sum()
                      for a in answers]
            margin = BETA * ((policy[0] - ref[at][0]) - (policy[1] - ref[at][1]))
            loss = -torch.nn.functional.logsigmoid(margin) / BATCH
            loss.backward()
            total += float(loss.detach())
            values = [float(x.detach()) for x in policy]
            sums.append(values + [BETA * (values[s] - ref[at][s]) for s in range(2)])
        norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in model.parameters()))
        if first is None:
            first = {name: p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()
        mean = [sum(column) / BATCH for column in zip(*sums)]
        log.append({"step": step + 1, "loss": total, "learning_rate": lr, "grad_norm": norm, "rewards/chosen": mean[2],
                    "rewards/rejected": mean[3], "rewards/margins": mean[2] - mean[3], "logps/chosen": mean[0], "logps/rejected": mean[1]})
    final = {name: p.data.clone() for name, p in model.named_parameters()} if keep_final else None
    return log, first, final


def case_make(name, case):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(case["seed"])
    sp = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    vocabulary = sp.vocab_size()
    config = dict(case["config"], vocab_size=(vocabulary + 7) // 8 * 8, hidden_act="silu", bos_token_id=sp.bos_id(),
                  eos_token_id=sp.eos_id(), torch_dtype="float32")
    write(folder / "model" / "config.json", json.dumps(config, indent=1) + "\n")
    shutil.copy(TOKENIZER, folder / "model" / "tokenizer.model")
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.from_pretrained(folder / "model"), dtype=torch.float32, attn_implementation="eager")
    model.eval()
    weights_fill(model, generator)
    state = {k: v.clone() for k, v in model.named_parameters()}
    if config["tie_word_embeddings"]:  # twice, as some checkpoints hold it: a copy of the case that says it is not tied is a model, too
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, folder / "model" / "model.safetensors", metadata={"format": "pt"})

    pairs = pairs_make(generator)
    write(folder / "pairs.jsonl", jsonl(pairs))
    encode = sp.encode
    rows = [([sp.bos_id()] + encode(PROMPT.format(question=p["question"])),
             [encode(p[side]) + [sp.eos_id()] for side in ("chosen", "rejected")]) for p in pairs]
    longest = max(len(p) + len(a) for p, answers in rows for a in answers)

    score = []
    for prompt, answers in rows:
        row = {}
        for side, answer in zip(("chosen", "rejected"), answers):
            with torch.no_grad():
                logps = row_logps(forward(model, prompt + answer), prompt + answer, len(prompt))
            row[side] = {"prompt_ids": prompt, "response_ids": answer, "logps": [round(float(x), 7) for x in logps], "sum": float(logps.sum())}
        score.append(row)
    write(folder / "expect" / "score.jsonl", jsonl(score))

    prompt, answers = rows[0]
    ids = prompt + answers[0]
    with torch.no_grad():
        logits = forward(model, ids)
    save_file({"ids": torch.tensor(ids), "prompt": torch.tensor([len(prompt)]), "logits": logits[len(prompt):].contiguous()},
              folder / "expect" / "forward.safetensors")

    questions = [[sp.bos_id()] + encode(PROMPT.format(question=q)) for q in QUESTIONS]
    ends = [sp.eos_id()]
    for i in range(case["ends"]):
        free, _ = greedy(model, questions[i], vocabulary, ends)
        ends.append(next(x for x in free[4 + i:] if x not in ends))
    if case["ends"]:
        config["eos_token_id"] = ends[:2]
        write(folder / "model" / "config.json", json.dumps(config, indent=1) + "\n")
        write(folder / "model" / "generation_config.json", json.dumps({"bos_token_id": sp.bos_id(), "eos_token_id": ends}, indent=1) + "\n")
    rows_greedy = []
    words = ("yes", "Yes", "no", "No")
    word_ids = {w: encode(w)[-1] for w in words}
    for question, prompt in zip(QUESTIONS, questions):
        found, gap = greedy(model, prompt, vocabulary, ends)
        with torch.no_grad():
            p = torch.softmax(forward(model, prompt)[-1].double(), -1)
        rows_greedy.append({"question": question, "greedy_ids": found, "min_gap": gap, "yes_no": {w: float(p[word_ids[w]]) for w in words},
                            "yes_no_ids": word_ids})
    write(folder / "expect" / "greedy.jsonl", jsonl(rows_greedy))

    log, gradients, final = dpo(model, rows, encode, case["final"])
    save_file(gradients, folder / "expect" / "grad_step0.safetensors")
    if final:
        save_file(final, folder / "expect" / "dpo_final.safetensors")
    write(folder / "expect" / "dpo.json", json.dumps(
        {"beta": BETA, "lr": LR, "warmup_steps": WARMUP, "steps": STEPS, "batch_pairs": BATCH, "order": "file order, wrapping",
         "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": DECAY, "decay": "parameters with 2 or more dimensions", "grad_clip": None,
         "log": log}, indent=1) + "\n")
    facts = {"case": name, "seed": case["seed"], "torch": torch.__version__, "transformers": transformers.__version__, "template": PROMPT,
             "params": sum(p.numel() for p in model.parameters()), "longest": longest}
    inverse = getattr(model.model.rotary_emb, "inv_freq", None)
    if inverse is not None:
        facts["rope_frequencies"] = [float(x) for x in inverse]
    write(folder / "case.json", json.dumps(facts, indent=1) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(name, "longest", longest, "params", facts["params"], "bytes", size, "gaps", [round(r["min_gap"], 4) for r in rows_greedy],
          "lengths", [len(r["greedy_ids"]) for r in rows_greedy], "losses", [round(r["loss"], 4) for r in log])


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, case in CASES.items():
        case_make(name, case)


if __name__ == "__main__":
    main()
