#!/usr/bin/env python3
"""The texts of docs/results/smollm2.md as JSON lines: train.jsonl, wikitext.jsonl, c4.jsonl and alpaca.jsonl, and those of
docs/results/memory.md beside them: facts.jsonl.

    bench/smollm2/texts.py DATA OUT

DATA holds published files:
    wikitext2/wikitext2_train_5k.txt             the first lines of WikiText-2, raw
    text/c4_demo.jsonl                           300 web pages of C4, {"text": ...}
    text/wiki_demo.txt                           30 articles of Wikipedia, one a line
    alpaca/alpaca_5000.json                      5,000 records of Alpaca
    text/gsm8k_train_alpaca_format.json          7,473 records of GSM8K in Alpaca's format
The first tenth of WikiText, 60 pages of C4 and 250 records of Alpaca are held out; the rest is shuffled by a fixed seed.
facts.jsonl are 500 pieces of the longer documents to train on, with two to four facts planted in each and asked for at its end.
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
names = "Marta Oleg Priya Chen Fatima Jonas Keiko Luis Nadia Tomas Ingrid Kwame Aisha Pavel Rosa Erik".split()
things = ["code", "password", "locker number", "account number", "phone number", "secret word", "ticket", "room", "combination", "serial number",
          "favourite city", "pet's name"]
words = ("amber basil cobalt dune ember fjord garnet heron indigo jasper karst lotus maple nectar onyx pearl quartz raven saffron tundra umber "
         "violet willow zephyr").split()
wordings = [(" ", ". "), ("\n", ".\n"), (" Note that ", "; do not forget it. "), (" By the way, ", ". ")]


def value(rng):
    """A number of three to five digits, or one to three words."""
    if rng.random() < 0.6:
        digits = rng.choice([2, 3, 4])
        return str(rng.randrange(10**digits, 10**(digits + 1)))
    return " ".join(rng.choice(words) for _ in range(rng.choice([1, 2, 3])))


def planted(texts, rng):
    """A piece of one of the texts with facts in its first seven eighths ("Note that Marta's code is 4711; do not forget it."), each between
    two words, and at its end a question and an answer for each."""
    size = rng.randrange(1000, 3600)
    text = rng.choice(texts)
    at = rng.randrange(max(1, len(text) - size))
    text, facts = text[at:at + size], {}
    while len(facts) < rng.choice([2, 3, 4]):
        answer = value(rng)
        facts[rng.choice(names) + "'s " + rng.choice(things)] = answer
    cuts = sorted(rng.randrange(int(len(text) * 7 / 8)) for _ in facts)
    out, last = "", 0
    for cut, (about, answer) in zip(cuts, facts.items()):
        space = text.rfind(" ", 0, cut)
        cut = space if space > last else cut
        before, behind = rng.choice(wordings)
        out += text[last:cut] + before + about + " is " + answer + behind
        last = cut
    out += text[last:]
    questions = list(facts.items())
    rng.shuffle(questions)
    return out + "".join(f"\nQuestion: What is {about}? Answer: {about} is {answer}." for about, answer in questions)


sets = {name: documents[name][:count] for name, count in held_out.items()}
sets["train"] = [text for name, texts in documents.items() for text in texts[held_out.get(name, 0):]]
random.Random(0).shuffle(sets["train"])
long = [text for text in sets["train"] if len(text) > 3000 and not text.startswith(preamble[:8])]
facts = random.Random(3)
sets["facts"] = [planted(long, facts) for _ in range(500)]
out.mkdir(parents=True, exist_ok=True)
for name, texts in sets.items():
    path = out / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    print(f"{path}: {len(texts)} documents, {path.stat().st_size / 1e6:.1f} MB")
