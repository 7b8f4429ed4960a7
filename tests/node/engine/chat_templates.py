"""Small chat templates that take tools as those of real families do, written for these tests.

Each does what matters of its family's: the form of calls, whether arguments are an object or a text, ids of a fixed
length, one call a turn, roles that must alternate, a prompt that opens the reasoning.
"""

TURN = "<|{{ m.role }}|>{{ m.content }}"
END = "{% endfor %}<|assistant|>"

HERMES = (
    "{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}<tool_response>{{ m.content }}</tool_response>{% else %}" + TURN + "{% endif %}"
    "{% for c in m.tool_calls %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
)
WITH_TEXT = HERMES.replace("{{ c.function.arguments | tojson }}", "{{ '' + c.function.arguments }}")
CODER = (
    "{% for t in tools %}{{ t.function | tojson(ensure_ascii=False) }}{% endfor %}{% for m in messages %}" + TURN + ""
    "{% for c in m.tool_calls %}\n<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for key, value in c.function.arguments | items %}<parameter={{ key }}>\n{{ value }}\n</parameter>\n"
    "{% endfor %}"
    "</function>\n</tool_call>{% endfor %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}{% if tools %}[AVAILABLE_TOOLS]"
    "{{ tools | tojson }}"
    "[/AVAILABLE_TOOLS]{% endif %}[INST]{{ m.content }}[/INST]{% elif m.tool_calls is defined %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('ids have 9 characters') }}{% endif %}"
    "{{ (c.function | tojson)[:-1] }}, \"id\": \"{{ c.id }}\"}{{ '' if loop.last else ', ' }}{% endfor %}]</s>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }} {{ m.tool_call_id }}[/TOOL_RESULTS]"
    "{% else %}{{ m.content }}</s>{% endif %}"
)
MISTRAL_ARGS = (
    "{{ tools | tojson if tools }}{% for m in messages %}" + TURN + "{% for c in m.tool_calls %}[TOOL_CALLS]"
    "{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}"
)
MISTRAL_NAMED = MISTRAL_ARGS.replace("[ARGS]", "")
LLAMA = (
    "{{ tools | tojson if tools }}{% for m in messages %}{% if m.tool_calls and m.tool_calls | length != 1 %}"
    "{{ raise_exception('single tool-calls only') }}{% endif %}" + TURN + "{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}{% endfor %}'
)
PHI = (
    "{{ tools | tojson if tools }}{% for m in messages %}" + TURN + "{% for c in m.tool_calls %}"
    "<|tool_call|>{{ c.function | tojson }}<|/tool_call|>{% endfor %}"
)
PHI_LIST = "{% for m in messages %}" + TURN + "{% if m.tools %}<|tool|>{{ m.tools }}<|/tool|>{% endif %}"
PLAIN = "{% for m in messages %}" + TURN
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + TURN
)
REASONING = PLAIN + "{{ m.content.split('</think>') | last }}"

TEMPLATES = {
    "hermes": HERMES + END,
    "qwen-coder": CODER + END,
    "mistral": MISTRAL + END,
    "mistral-args": MISTRAL_ARGS + END,
    "mistral-named": MISTRAL_NAMED + END,
    "llama": LLAMA + END,
    "phi": PHI + END,
    "phi-list": PHI_LIST + END,
}
"""One for each family, by its name."""

OTHERS = {
    "text arguments": WITH_TEXT + END,
    "plain": PLAIN + END,
    "strict": STRICT + END,
    "reasoning": REASONING + END,
    "opened reasoning": PLAIN + END + "<think>\n",
    "unknown calls": HERMES.replace("tool_call>", "call>") + END,
    "no results": HERMES.replace("{{ m.content }}</tool_response>", "</tool_response>") + END,
}
