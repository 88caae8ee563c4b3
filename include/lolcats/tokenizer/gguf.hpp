// The tokenizer inside of a GGUF file.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/io/gguf.hpp>
#include <lolcats/tokenizer/byte_pair.hpp>
#include <lolcats/tokenizer/scored_pieces.hpp>
#include <lolcats/tokenizer/tiktoken.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// What llama.cpp's name of a pre-tokenizer (`tokenizer.ggml.pre`) stands for: patterns that cut one after the other.
struct GgufWords {
  std::vector<std::string> patterns;
  bool nfc = false, ignore_merges = false, adds_bos = false;
};

/// The names are llama.cpp's; what they mean is taken from the tokenizers that they stand for.  "default" is llama.cpp's
/// own, for models whose pre-tokenizer its converter did not know.
inline std::optional<GgufWords> gguf_words(std::string_view pre) {
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), pre) != names.end();
  };
  const std::string gpt2(gpt2_pattern), llama3(llama3_pattern);
  if (is({"gpt-2", "phi-2", "mpt", "olmo", "jais"})) return GgufWords{{gpt2}};
  if (is({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})) return GgufWords{{R"(\p{N})", gpt2}};
  if (is({"llama-bpe", "llama3", "llama-v3", "falcon3"})) return GgufWords{{llama3}, false, true, true};
  if (is({"dbrx", "smaug-bpe"})) return GgufWords{{llama3}};
  if (is({"qwen2", "deepseek-r1-qwen", "stablelm2"})) {
    return GgufWords{{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                      R"(\s*[\r\n]+|\s+(?!\S)|\s+)"},
                     pre != "stablelm2"};
  }
  if (is({"tekken"})) {
    return GgufWords{{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
                      R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
                     false,
                     true,
                     true};
  }
  if (is({"default"})) {
    return GgufWords{{R"([\p{P}\$\+<=>\^~\|]+)",
                      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))", R"(\p{N}+)",
                      R"([0-9][0-9][0-9])"}};
  }
  return std::nullopt;
}

inline std::vector<PieceKind> gguf_kinds(const Gguf& file, std::size_t count) {
  std::vector<PieceKind> kinds(count, PieceKind::normal);
  if (!file.has("tokenizer.ggml.token_type")) return kinds;
  const std::vector<Index> types = file.integers("tokenizer.ggml.token_type");
  require<FormatError>(types.size() == count, "{}: 'tokenizer.ggml.token_type' has {} entries, expected {}",
                       file.name(), types.size(), count);
  for (std::size_t i = 0; i < count; ++i) {
    require<FormatError>(types[i] >= 1 && types[i] <= 6,
                         "{}: 'tokenizer.ggml.token_type' of token {} is {}, expected 1 to 6", file.name(), i,
                         types[i]);
    kinds[i] = static_cast<PieceKind>(types[i]);
  }
  return kinds;
}

inline std::unique_ptr<Tokenizer> gguf_byte_pairs(const Gguf& file, std::vector<std::string> pieces,
                                                  std::optional<Index> bos, std::optional<Index> eos) {
  const std::string& name = file.name();
  require<ConfigError>(file.has("tokenizer.ggml.pre"),
                       "{}: 'tokenizer.ggml.pre' is missing, so its words are unknown; "
                       "expected the name of a pre-tokenizer",
                       name);
  const std::string pre = file.text("tokenizer.ggml.pre");
  const std::optional<GgufWords> words = gguf_words(pre);
  require<ConfigError>(words.has_value(), "{}: 'tokenizer.ggml.pre' is '{}', which is not supported", name,
                       shown_pattern(pre));
  require<ConfigError>(!words->nfc || has_nfc, "{}: '{}' needs utf8proc, which this build was made without", name, pre);

  BytePairParts parts;
  parts.origin = name;
  parts.byte_level = true;
  parts.ignore_merges = words->ignore_merges;
  parts.bos = bos;
  parts.eos = eos;
  parts.adds_bos = file.has("tokenizer.ggml.add_bos_token") ? file.boolean("tokenizer.ggml.add_bos_token")
                                                            : words->adds_bos && bos.has_value();
  if (words->nfc) parts.normalizer.add({.kind = Normalizer::Kind::nfc});
  for (const std::string& pattern : words->patterns)
    parts.pre_tokenizer.add({.pattern = TextPattern(Regex(pattern, name))});
  parts.pipeline = "gguf " + pre;

  const std::vector<PieceKind> kinds = gguf_kinds(file, pieces.size());
  std::unordered_map<std::string_view, Index> ids;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto id = static_cast<Index>(i);
    if (kinds[i] == PieceKind::control || kinds[i] == PieceKind::unknown || kinds[i] == PieceKind::user_defined) {
      parts.added.push_back({.id = id, .content = pieces[i], .special = kinds[i] != PieceKind::user_defined});
    }
    if (kinds[i] != PieceKind::unused) ids.emplace(pieces[i], id);
  }
  const std::vector<std::string> merges = file.texts("tokenizer.ggml.merges");
  parts.merges = MergeTable(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const std::size_t cut = std::min(merge.find(' '), merge.size());
    const std::string_view left = merge.substr(0, cut), right = merge.substr(std::min(cut + 1, merge.size()));
    const auto a = ids.find(left), b = ids.find(right), c = ids.find(std::string(left) + std::string(right));
    require<FormatError>(a != ids.end() && b != ids.end() && c != ids.end(),
                         "{}: 'tokenizer.ggml.merges' {} is '{}', expected two pieces and their joint", name, rank,
                         shown_pattern(merge));
    parts.merges.add(static_cast<std::int32_t>(a->second), static_cast<std::int32_t>(b->second),
                     static_cast<std::uint32_t>(rank), static_cast<std::int32_t>(c->second));
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    parts.texts.push_back(byte_alphabet::bytes_of(pieces[i]).value_or(pieces[i]));
    if (kinds[i] == PieceKind::unused) pieces[i].clear();  // paddings such as [PAD123], all alike or not
  }
  parts.pieces = std::move(pieces);
  return std::make_unique<BytePairTokenizer>(std::move(parts));
}

inline std::unique_ptr<Tokenizer> gguf_scored_pieces(const Gguf& file, std::vector<std::string> pieces,
                                                     std::optional<Index> bos, std::optional<Index> eos) {
  const auto flag = [&](const char* key, bool absent) { return file.has(key) ? file.boolean(key) : absent; };
  for (const char* key : {"tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.precompiled_charsmap"}) {
    const bool off = !file.has(key) || (std::string_view(key).ends_with("whitespaces") && !file.boolean(key));
    require<ConfigError>(off, "{}: '{}' is there, which is not supported", file.name(), key);
  }
  ScoredPieces parts;
  parts.origin = file.name();
  parts.kinds = gguf_kinds(file, pieces.size());
  for (const double score : file.numbers("tokenizer.ggml.scores")) parts.scores.push_back(static_cast<float>(score));
  if (file.has("tokenizer.ggml.unknown_token_id")) parts.unknown = file.integer("tokenizer.ggml.unknown_token_id");
  parts.bos = bos;
  parts.eos = eos;
  parts.adds_bos = flag("tokenizer.ggml.add_bos_token", bos.has_value());
  parts.puts_space = flag("tokenizer.ggml.add_space_prefix", true);
  parts.pieces = std::move(pieces);
  return std::make_unique<ScoredPiecesTokenizer>(std::move(parts));
}

}  // namespace detail

/// The tokenizer that a GGUF file holds: model "gpt2" (byte pairs; `tokenizer.ggml.pre` names how words are cut) or
/// "llama" (sentencepiece's byte pairs).  Control tokens are special, user-defined ones are always parsed.
/// Throws ConfigError for another model and for an unknown `pre`, FormatError for lists that do not fit together.
inline std::unique_ptr<Tokenizer> gguf_tokenizer(const Gguf& file) {
  const auto id = [&](const char* key) {
    return file.has(key) ? std::optional<Index>(file.integer(key)) : std::nullopt;
  };
  require<ConfigError>(file.has("tokenizer.ggml.model"), "{}: holds no tokenizer ('tokenizer.ggml.model' is missing)",
                       file.name());
  const std::string model = file.text("tokenizer.ggml.model");
  require<ConfigError>(model == "gpt2" || model == "llama",
                       "{}: 'tokenizer.ggml.model' is '{}', which is not supported; expected gpt2 or llama",
                       file.name(), shown_pattern(model));
  require<ConfigError>(!file.has("tokenizer.ggml.add_eos_token") || !file.boolean("tokenizer.ggml.add_eos_token"),
                       "{}: 'tokenizer.ggml.add_eos_token' is true, which is not supported", file.name());
  std::vector<std::string> pieces = file.texts("tokenizer.ggml.tokens");
  const auto bos = id("tokenizer.ggml.bos_token_id"), eos = id("tokenizer.ggml.eos_token_id");
  return model == "gpt2" ? detail::gguf_byte_pairs(file, std::move(pieces), bos, eos)
                         : detail::gguf_scored_pieces(file, std::move(pieces), bos, eos);
}

}  // namespace lolcats
