#!/usr/bin/env python3
"""The texts of docs/results/smollm2.md as JSON lines: train.jsonl, wikitext.jsonl, c4.jsonl and alpaca.jsonl.

    bench/smollm2/texts.py DATA OUT

DATA holds published files:
    wikitext2/wikitext2_train_5k.txt             the first lines of WikiText-2, raw
    text/c4_demo.jsonl                           300 web pages of C4, {"text": ...}
    text/wiki_demo.txt                           30 articles of Wikipedia, one a line
    alpaca/alpaca_5000.json                      5,000 records of Alpaca
    text/gsm8k_train_alpaca_format.json          7,473 records of GSM8K in Alpaca's format
The first tenth of WikiText, 60 pages of C4 and 250 records of Alpaca are held out; the rest is shuffled by a fixed seed.
"""
import json
import pathlib
import random
import re
import sys

if len(sys.argv) != 3:
    sys.exit(__doc__)
data, out = map(pathlib.Path, sys.argv[1:])
held_out = {"wikitext": 1, "c4": 60, "alpaca": 250}
chunk = 20000  # characters of a document of WikiText

# How Alpaca's records are asked (github.com/tatsu-lab/stanford_alpaca).
preamble = "Below is an instruction that describes a task{}Write a response that appropriately completes the request.\n\n"
with_input = ", paired with an input that provides further context. "


def records(path):
    """Prompt and answer of each record that has an answer."""
    for record in json.loads(path.read_text()):
        answer, context = record["output"], record.get("input") or ""
        if not answer.strip() or answer == "nooutput":
            continue
        if re.sub("[^a-z]", "", context.lower()) == "noinput":
            context = ""
        prompt = preamble.format(with_input if context else ". ") + "### Instruction:\n" + record["instruction"]
        yield prompt + (f"\n\n### Input:\n{context}" if context else "") + "\n\n### Response:\n" + answer


def untokenized(text):
    """WikiText's spaces around punctuation taken back."""
    text = re.sub(r" @(.)@ ", r"\1", text)
    for mark in [" ,", " .", " ;", " :", " )", " 's", " n't"]:
        text = text.replace(mark, mark[1:])
        if mark == " )":
            text = text.replace("( ", "(")
    return text


wikitext = untokenized((data / "wikitext2/wikitext2_train_5k.txt").read_text())
cut = wikitext.rindex("\n", 0, len(wikitext) // 10)
documents = {
    "wikitext": [wikitext[:cut]] + [wikitext[i:i + chunk] for i in range(cut, len(wikitext), chunk)],
    "c4": [json.loads(line)["text"] for line in (data / "text/c4_demo.jsonl").open()],
    "wiki": [line for line in (data / "text/wiki_demo.txt").read_text().split("\n") if len(line) > 200],
    "alpaca": list(records(data / "alpaca/alpaca_5000.json")),
    "gsm8k": list(records(data / "text/gsm8k_train_alpaca_format.json")),
}
sets = {name: documents[name][:count] for name, count in held_out.items()}
sets["train"] = [text for name, texts in documents.items() for text in texts[held_out.get(name, 0):]]
random.Random(0).shuffle(sets["train"])
out.mkdir(parents=True, exist_ok=True)
for name, texts in sets.items():
    path = out / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    print(f"{path}: {len(texts)} documents, {path.stat().st_size / 1e6:.1f} MB")
