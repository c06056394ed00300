"""Chat templates as model families write them, shortened to what a conversation of texts uses."""

from __future__ import annotations

from kit.chat_models import CHATML, GEMMA, LLAMA, Family

GEMMA_3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
{%- set first = messages[0]['content'] + '\\n\\n' -%}{%- set loop_messages = messages[1:] -%}
{%- else -%}
{%- set first = '' -%}{%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}
{{- message['content'] | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""

# A day of its own and a block of knowledge, system prompt or not.
LLAMA_3 = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' }}
{{- 'Today Date: ' + strftime_now('%d %b %Y') + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

# Qwen2.5 and SmolLM2 have a system prompt of their own where none is given.
CHATML_WITH_DEFAULT = (
    """\
{%- if messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant who says "please".<|im_end|>\\n' }}
{%- endif %}"""
    + CHATML
)

# Qwen3 writes an empty thought into the last answer only, and in front of the next.
CHATML_THINKING = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if loop.last and message.role == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}{% if enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

# Mistral writes the system prompt into the last question, and marks of turns as words.
MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
{%- if message['role'] == 'user' %}
{%- if loop.last and system is defined %}{{ '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else %}{{ '[INST] ' + message['content'] + '[/INST]' }}{% endif %}
{%- else %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}
{%- endfor %}"""

# Before its third version the marks of turns are no tokens.
MIXTRAL = """\
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
{%- if message['role'] == 'user' %}
{%- if loop.first and system is defined %}{{ ' [INST] ' + system + '\\n\\n' + message['content'] + ' [/INST]' }}
{%- else %}{{ ' [INST] ' + message['content'] + ' [/INST]' }}{% endif %}
{%- else %}{{ ' ' + message['content'] + eos_token }}{% endif %}
{%- endfor %}"""

PHI_4 = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""

PHI_3 = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

FAMILY_TEMPLATES: dict[str, tuple[Family, str]] = {
    "gemma-2": ("gemma", GEMMA),
    "gemma-3": ("gemma", GEMMA_3),
    "llama-3": ("llama", LLAMA),
    "llama-3.2": ("llama", LLAMA_3),
    "chatml": ("chatml", CHATML),
    "qwen-2.5, smollm2": ("chatml", CHATML_WITH_DEFAULT),
    "qwen-3": ("chatml", CHATML_THINKING),
    "mistral": ("llama", MISTRAL),
    "phi-3": ("chatml", PHI_3),
}
