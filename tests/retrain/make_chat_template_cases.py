#!/usr/bin/env python3
"""Writes chat_template_cases.json anew: what Jinja2 (3.1.6), set up as transformers sets it up, makes
of the templates in that file. Add a template by hand, run this, read the difference.

    make_chat_template_cases.py chat_template_cases.json"""
import json
import sys

import jinja2.exceptions
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
path = sys.argv[1]
document = json.load(open(path, encoding="utf-8"))
for case in document["cases"]:
    for key in ("rendered", "error", "kind"):
        case.pop(key, None)
    try:
        case["rendered"] = environment.from_string(case["template"]).render(
            messages=document["messages"], tools=None, documents=None, bos_token="<s>", eos_token="</s>",
            **document["variables"])
    except Exception as error:
        case["error"], case["kind"] = str(error), type(error).__name__
json.dump(document, open(path, "w", encoding="utf-8"), ensure_ascii=False, indent=1)
