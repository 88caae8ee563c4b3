#!/usr/bin/env python3
"""Compares token ids with those of Python's tokenizers, tiktoken and sentencepiece, on texts that break tokenizers.

    check_tokenizers.py TOKENIZE [--llama3 tokenizer.model] [--llama2 tokenizer.model] [--json tokenizer.json ...]
                        [--gguf FILE JSON] [--random N] [--files FILE ...] [--count N] [--seed S] [--sweep]

TOKENIZE is the program examples/tokenize.  --json is repeated for each file, and --random makes N small tokenizer.json of
random pipelines.  --sweep tries every code point.  Ends with status 1 after the first ten differences of a tokenizer.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

STRANGE = ["\0", "\t", "\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\xa0", "\xad", "\u034f", "\u061c", "\u1680", "\u180e", "\u2003", "\u200b",
           "\u200c", "\u200d", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ue000",
           "\u0301", "\u0323\u0307", "\u0307\u0323", "\u0345", "\u093c", "\u0f71\u0f72", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u212b", "\u2126",
           "\u0958", "\ufb01", "\u1e9b\u0323", "\u0344", "\u0340", "\u2adc", "\U0001d15e", "e\u0301", "\u017f", "\u212a", "\u0130", "\u0131", "\u00df",
           "\u1e9e", "\u01c5", "\u02b0", "\u00aa", "\u00b2", "\u00bd", "\u0661", "\u0967", "\u2164", "\u3007", "\uff11", "\U0001d7d8", "\u4e2d\u6587",
           "\u65e5\u672c", "\u0e01\u0e33", "\u05d0\u05b7", "\u0627\u0651", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
           "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\u0023\ufe0f\u20e3", "\u2581", "\u2581\u2581", "\u0120", "\u010a", "\u2047"]
PLAIN = ["'s", "'S", "'\u017f", "'t", "'LL", "'ll", "'re", "'RE", "'vE", "'d", "'D", "'", "''", "\u2019s", "don't", "DON'T", "I'M", "we'Ll", " ", "  ", "   ", "\n\n",
         " \n", "\n ", "\t\t", " \r\n ", "a", "A", "the", " The", "x" * 50, "ab" * 30, "0", "12", "345", "67890", " 1,234.5", "3.14", "-", "--", "...", "!?", "==", "!=",
         "<", ">", "</s>", "<s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<0x0A>", "{\"a\": [1]}", "http://a.b/c?d=e&f#g",
         "foo_bar", "fooBar", "#include <x>", "//", "/* */", "$x", "\\n", "\u00e9", "na\u00efve", "stra\u00dfe", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u03b1\u03b2", "\u00a1\u00bf"]


def nasty(rng):
    kind = rng.random()
    if kind < 0.1:
        return "".join(chr(c) for c in (rng.randrange(0x110000) for _ in range(rng.randrange(1, 12))) if not 0xD800 <= c < 0xE000)
    if kind < 0.2:
        block = rng.randrange(0, 0x3000, 0x80)
        return "".join(chr(block + rng.randrange(0x80)) for _ in range(rng.randrange(1, 20)))
    if kind < 0.25:
        return rng.choice(PLAIN + STRANGE) * rng.randrange(1, 400)
    return "".join(rng.choice(PLAIN if rng.random() < 0.6 else STRANGE) for _ in range(rng.randrange(1, 25)))


def ours(program, tokenizer, texts, *options):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    done = subprocess.run([program, "--tokenizer", tokenizer, *options], input=lines.encode(), stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{program} --tokenizer {tokenizer}: status {done.returncode}")
    return [json.loads(line)["ids"] for line in done.stdout.splitlines()]


def compare(name, texts, got, want, different):
    wrong = [i for i in range(len(texts)) if got[i] != want[i]]
    print(f"{name}: {len(texts)} texts, {len(wrong)} differ", flush=True)
    for i in sorted(wrong, key=lambda i: len(texts[i]))[:10]:
        print(f"  {texts[i][:200]!r}\n    got  {got[i][:40]}\n    want {want[i][:40]}")
    return different + len(wrong)


def random_pipeline(rng, texts, folder):
    """A small tokenizer.json of a random pipeline, trained on `texts`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    fallback, byte_level = rng.random() < 0.4, rng.random() < 0.5
    tokenizer = Tokenizer(models.BPE(byte_fallback=fallback, fuse_unk=rng.random() < 0.5, unk_token=rng.choice([None, "<unk>"]), ignore_merges=rng.random() < 0.4))
    steps = [normalizers.NFC(), normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581"), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace("ab", "")]
    steps = [s for s in steps if rng.random() < 0.3]
    if steps:
        tokenizer.normalizer = steps[0] if len(steps) == 1 else normalizers.Sequence(steps)
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    stages = [pre_tokenizers.Digits(individual_digits=rng.random() < 0.5), pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(),
              pre_tokenizers.Metaspace(prepend_scheme=rng.choice(["always", "never"]), split=rng.random() < 0.5),
              pre_tokenizers.Split(rng.choice([Regex(LLAMA3), Regex(r"\d|\w"), Regex(r"[a-m]+|x?"), Regex(r"(?<=a)b|\b\p{Greek}+"), " ", "'", "a"]), rng.choice(behaviors), rng.random() < 0.3),
              pre_tokenizers.Split(Regex(r"\p{N}{1,3}|\p{Han}|[\u0e00-\u0e7f]+|\p{Lu}?\p{Ll}*|^."), rng.choice(behaviors), False)]
    stages = [s for s in stages if rng.random() < 0.25]
    rng.shuffle(stages)
    if byte_level:
        stages.insert(len(stages) if rng.random() < 0.8 else 0, pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.3, use_regex=rng.random() < 0.5))
    if len(stages) < 2 and not steps and rng.random() < 0.3:  # elsewhere "first" asks where a word's first byte came from
        stages = [pre_tokenizers.Metaspace(prepend_scheme="first", split=rng.random() < 0.5)]
        byte_level = False
    if stages:
        tokenizer.pre_tokenizer = stages[0] if len(stages) == 1 else pre_tokenizers.Sequence(stages)
    tokenizer.decoder = decoders.ByteLevel() if byte_level else decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if fallback and rng.random() < 0.995]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    for content in ["<s>", "</s>", "ab", "a", "x", "<|im_start|>", "The", "\u00e9", "..."]:
        if rng.random() < 0.3:
            token = AddedToken(content, single_word=rng.random() < 0.3, lstrip=rng.random() < 0.3, rstrip=rng.random() < 0.3, normalized=rng.random() < 0.5)
            (tokenizer.add_special_tokens if rng.random() < 0.5 else tokenizer.add_tokens)([token])
    path = os.path.join(folder, "random.json")
    tokenizer.save(path)
    return Tokenizer.from_file(path), path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenize")
    parser.add_argument("--llama3")
    parser.add_argument("--llama2")
    parser.add_argument("--json", action="append", default=[])
    parser.add_argument("--gguf", nargs=2, default=[])
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--files", nargs="*", default=[])
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", action="store_true")
    o = parser.parse_args()
    rng = random.Random(o.seed)
    texts = [nasty(rng) for _ in range(o.count)]
    for name in o.files:
        with open(name, encoding="utf-8", errors="replace", newline="") as file:
            text = file.read()
        texts.append(text)
        texts += text.splitlines(keepends=True)
    if o.sweep:
        texts += [f"a{chr(c)}b {chr(c)}{chr(c)} 1{chr(c)}" for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    different = 0

    from tokenizers import Tokenizer
    def encode_all(tokenizer, special):
        tokenizer.encode_special_tokens = not special
        return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    for path, judge in [(p, p) for p in o.json] + ([tuple(o.gguf)] if o.gguf else []):
        tokenizer = Tokenizer.from_file(judge)
        for special in (True, False):
            options = ["--special"] if special else []
            different = compare(f"{path}{' with special tokens' if special else ''}", texts, ours(o.tokenize, path, texts, *options), encode_all(tokenizer, special), different)
    if o.llama3:
        import base64
        import tiktoken
        with open(o.llama3, "rb") as file:
            ranks = {base64.b64decode(piece): int(rank) for piece, rank in (line.split() for line in file.read().splitlines() if line)}
        judge = tiktoken.Encoding("llama3", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens={})
        different = compare(o.llama3, texts, ours(o.tokenize, o.llama3, texts), judge.encode_ordinary_batch(texts), different)
    if o.llama2:
        import sentencepiece
        judge = sentencepiece.SentencePieceProcessor(model_file=o.llama2)
        different = compare(o.llama2, texts, ours(o.tokenize, o.llama2, texts), judge.encode(texts), different)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(o.random):
            tokenizer, path = random_pipeline(rng, texts[:2000], folder)
            for special in (True, False):
                options = ["--special"] if special else []
                before = different
                different = compare(f"random pipeline {i}{' with special tokens' if special else ''}", texts, ours(o.tokenize, path, texts, *options), encode_all(tokenizer, special), different)
                if different > before:
                    kept = json.load(open(path))
                    kept["model"] = {k: v for k, v in kept["model"].items() if k not in ("vocab", "merges")}
                    kept["added_tokens"] = [t for t in kept["added_tokens"] if not t["content"].startswith("<0x")]
                    print(json.dumps(kept))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
