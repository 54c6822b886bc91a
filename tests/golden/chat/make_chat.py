"""Writes vectors.jsonl: conversations as Transformers renders them (apply_chat_template) from Jinja templates of the public formats.

    python tests/golden/chat/make_chat.py        # needs transformers, tokenizers, jinja2

Rows: template (a file of configs/chat), messages, text. bos and eos stand as {bos} and {eos}. Where a checkpoint's template leaves bos to its
tokenizer (zephyr), it is put in front. What a template writes behind the end of the last answer is cut off: nothing is predicted there.
"""
import json
import os

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

ROLE_LINES = (  # ChatML: every message between two tokens, a line end after each
    "{%% if messages[0].role != 'system' and default %%}{{ '<|im_start|>system\\n' ~ default ~ '<|im_end|>%(end)s' }}{%% endif %%}"
    "{%% for m in messages %%}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>%(end)s' }}{%% endfor %%}"
    "{%% if add_generation_prompt %%}{{ '<|im_start|>assistant\\n' }}{%% endif %%}"
)


def chatml(default, end="\\n"):
    return "{%% set default = '%s' %%}" % default + ROLE_LINES % {"end": end}


# name: Jinja, whether the tokenizer puts bos in front, whether a system message is allowed
FAMILIES = {
    "llama-3": (
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' ~ m.content | trim ~ '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        False, True),
    "qwen2": (chatml("You are a helpful assistant."), False, True),
    "qwen2.5": (chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."), False, True),
    "chatml": (chatml(""), False, True),
    "chatml_direct": (chatml("Answer the questions.", ""), False, True),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}"
        "{% else %}{{ ' ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}",
        False, False),
    "llama-2": (
        "{% set sys = '<<SYS>>\\n' ~ messages[0].content ~ '\\n<</SYS>>\\n\\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token ~ '[INST] ' ~ (sys if loop.index0 <= 1 and (loop.first or sys) else '') ~ m.content ~ ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' ~ m.content ~ ' ' ~ eos_token }}{% endif %}{% endfor %}",
        False, True),
    "zephyr": (  # block tags on lines of their own: trim_blocks and lstrip_blocks, as Transformers renders
        "{% for m in messages %}\n{{ '<|' ~ m.role ~ '|>\\n' ~ m.content ~ eos_token }}\n{% endfor %}\n"
        "{% if add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}",
        True, True),
}
CONVERSATIONS = [
    [("user", "What is in the picture?")],
    [("user", "Is it red? <image> </s>"), ("assistant", "Yes, it is.")],
    [("system", "Be brief."), ("user", "Two\nlines, \"quoted\" and a tab\t.")],
    [("user", "First?"), ("assistant", "One."), ("user", "Second?"), ("assistant", "Zwei: \u00e9\u4e2d.")],
    [("system", "You count."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "vectors.jsonl"), "w", encoding="utf-8") as out:
        for name, (jinja, puts_bos, takes_system) in FAMILIES.items():
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_object=Tokenizer(models.WordLevel({"{bos}": 0, "{eos}": 1, "?": 2}, unk_token="?")), bos_token="{bos}", eos_token="{eos}")
            for turns in CONVERSATIONS:
                messages = [{"role": role, "content": text} for role, text in turns]
                if messages[0]["role"] == "system" and not takes_system:
                    continue
                asks = messages[-1]["role"] == "user"
                text = tokenizer.apply_chat_template(messages, chat_template=jinja, tokenize=False, add_generation_prompt=asks)
                text = ("{bos}" if puts_bos else "") + (text if asks else text.rstrip("\n"))
                out.write(json.dumps({"template": name, "messages": messages, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
