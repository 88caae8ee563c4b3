// Llama 3's tokenizer.model: tiktoken's ranks.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tokenizer/byte_alphabet.hpp>
#include <lolcats/tokenizer/byte_pair.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lolcats {

/// Llama 3's words.  Source: meta-llama/llama-models, models/llama3/tokenizer.py.
inline constexpr std::string_view llama3_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The 256 special tokens of Llama 3.1 in the order of their ids, which follow those of the ranks.
inline std::vector<std::string> llama3_special_tokens() {
  std::vector<std::string> names{"<|begin_of_text|>",
                                 "<|end_of_text|>",
                                 "<|reserved_special_token_0|>",
                                 "<|reserved_special_token_1|>",
                                 "<|finetune_right_pad_id|>",
                                 "<|reserved_special_token_2|>",
                                 "<|start_header_id|>",
                                 "<|end_header_id|>",
                                 "<|eom_id|>",
                                 "<|eot_id|>",
                                 "<|python_tag|>"};
  for (int i = 3; names.size() < 256; ++i) names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  return names;
}

namespace detail {

/// The bytes of a base64 text of whole groups; nothing if it is none.
inline std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0 && (c != '=' || i < text.size() - padding)) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value < 0 ? 0 : value);
    if (i % 4 == 3) {
      for (const int shift : {16, 8, 0}) bytes += static_cast<char>(static_cast<unsigned char>(bits >> shift & 0xFF));
      bits = 0;
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace detail

/// Whether a file's bytes look like ranks: a first line "base64 number".
inline bool looks_like_tiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, std::min(bytes.find('\n'), std::size_t{1000}));
  const std::size_t space = line.find(' ');
  return space != std::string_view::npos && detail::from_base64(line.substr(0, space)).has_value() &&
         space + 1 < line.size() && line[space + 1] >= '0' && line[space + 1] <= '9';
}

/// Reads lines "base64 rank", the ranks being 0, 1, 2, ... in order; `special` are the tokens behind them.  `origin` names
/// the source in errors.
///
/// A pair of neighbours merges if their bytes, joined, have a rank, the lowest rank first; a word that has a rank itself
/// is one token.  Texts begin with BOS, the special token "<|begin_of_text|>".  Throws FormatError.
inline std::unique_ptr<BytePairTokenizer> parse_tiktoken(
    std::string_view bytes, const std::string& origin, std::string_view pattern = llama3_pattern,
    const std::vector<std::string>& special = llama3_special_tokens()) {
  std::vector<std::string> pieces;  // as bytes
  std::unordered_map<std::string_view, Index> ranks;
  for (std::size_t line = 1; !bytes.empty(); ++line) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view text = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty()) continue;
    const std::size_t space = std::min(text.find(' '), text.size());
    auto piece = detail::from_base64(text.substr(0, space));
    std::size_t rank = 0;
    const char* const last = text.data() + text.size();
    const bool number = space < text.size() && std::from_chars(text.data() + space + 1, last, rank).ptr == last;
    require<FormatError>(piece.has_value() && number, "{}: line {} is '{}', expected base64, a space and a rank",
                         origin, line, shown_pattern(text));
    require<FormatError>(rank == pieces.size(), "{}: line {} has rank {}, expected {}", origin, line, rank,
                         pieces.size());
    pieces.push_back(std::move(*piece));
  }
  require<FormatError>(!pieces.empty(), "{}: there are no ranks", origin);
  ranks.reserve(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    require<FormatError>(pieces[i].size() <= 1024, "{}: the piece of rank {} has {} bytes, expected at most 1024",
                         origin, i, pieces[i].size());
    const auto [place, fresh] = ranks.emplace(pieces[i], static_cast<Index>(i));
    require<FormatError>(fresh, "{}: ranks {} and {} are the same piece", origin, place->second, i);
  }
  for (int b = 0; b < 256; ++b)
    require<FormatError>(ranks.contains(std::string(1, static_cast<char>(static_cast<unsigned char>(b)))),
                         "{}: there is no rank for the byte 0x{:02X}", origin, b);

  BytePairParts parts;
  parts.origin = origin;
  parts.merges = MergeTable(2 * pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view piece = pieces[i];
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      const auto left = ranks.find(piece.substr(0, cut));
      if (left == ranks.end()) continue;
      const auto right = ranks.find(piece.substr(cut));
      if (right == ranks.end()) continue;
      parts.merges.add(static_cast<std::int32_t>(left->second), static_cast<std::int32_t>(right->second),
                       static_cast<std::uint32_t>(i), static_cast<std::int32_t>(i));
    }
  }
  const auto first_special = static_cast<Index>(pieces.size());
  for (std::size_t i = 0; i < special.size(); ++i) {
    const Index id = first_special + static_cast<Index>(i);
    parts.added.push_back({.id = id, .content = special[i]});
    if (special[i] == "<|begin_of_text|>") parts.bos = id;
    if (special[i] == "<|end_of_text|>") parts.eos = id;
  }
  for (const std::string& piece : pieces) parts.pieces.push_back(byte_alphabet::spell(piece));
  parts.texts = std::move(pieces);
  parts.byte_level = true;
  parts.ignore_merges = true;
  parts.adds_bos = parts.bos.has_value();
  parts.pre_tokenizer.add({.pattern = TextPattern(Regex(pattern, origin))});
  parts.pipeline = fmt::format("tiktoken {}", pattern);
  return std::make_unique<BytePairTokenizer>(std::move(parts));
}

}  // namespace lolcats
