"""Short conversations with what chat templates and tokenizers trip over: user and assistant take turns."""

PROBES = {
    "probe: plain": (
        "Good morning! Can you help me to plan my week?",
        "Of course. Which days are already taken, and what matters most to you this week?",
        "Monday and Thursday are full. I want to run three times.",
        "Then Tuesday, Wednesday and Saturday would work well. Shall we start with twenty minutes each time?",
    ),
    "probe: white space": (
        "  two spaces first\n\n\n\tthen a tab,   three spaces and a line end \n",
        "A list:\n\n  1. one\n  2. two\n\n\n     deep\n",
        "trailing   ",
        "\n\nleading line ends, and   gaps\tinside",
    ),
    "probe: unicode": (
        "Grüße aus Zürich: naïve café, e\u0301 and é, ½ ﬁ ™ “quotes” … — ‑ \u200b \u00a0 end",
        "日本語とEnglishの混在、한국어도. Русский текст, العربية والعبرية עברית, हिन्दी.",
        "👩🏽\u200d💻🏳️\u200d🌈 🙂🙂 𝒳 \U0001f9d1\u200d🚀 ok?",
        "Ναι! ¿Qué tal? Ça va — très bien ✅",
    ),
    "probe: code": (
        'Why does this fail?\n```python\ndef f(x):\n    return {"a": [1, 2.50, 1e-9], \'b\': x["c"]}  # 100%\n```',
        "`x` has no key `c`:\n\n```python\nf({'c': None})  # {'a': [1, 2.5, 1e-09], 'b': None}\n```\nUse `.get`.",
        "<b>HTML</b> &amp; {{ jinja }} {% raw %} ${shell} \\n \\u0041 C:\\temp\\new",
        "SELECT * FROM t WHERE a <> 'it''s' AND b >= 10000000;",
    ),
    "probe: odd words": (
        "aaaaaaaaaaaaaaaaaaaaaaaa 1234567890 00000 3.14159265358979 I'm you're THEY'LL",
        "Don't—can't!?!? ... (((nested))) #hashtag @name a_b_c camelCaseWord https://example.org/?q=a%20b&c=d",
        "Y",
        "N",
    ),
}
