// Reads and writes llama2.c's `tokenizer.bin`.
//
//   int32 longest piece in bytes, then for each token: float32 score, int32 length, its bytes; all little-endian
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/llama2c.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they are");

/// Reads a tokenizer from the bytes of a `tokenizer.bin`.
///
/// The format does not say how many tokens there are: `vocab_size` does (the model's config knows), and then no byte
/// may be left over; with 0 the bytes are read to their end.  `origin` names the source in errors.  Throws FormatError.
inline Llama2cTokenizer parse_llama2c_tokenizer(std::span<const std::byte> bytes, Index vocab_size = 0,
                                                const std::string& origin = "tokenizer.bin") {
  std::size_t at = 0;
  const auto take = [&](void* target, std::size_t size, const char* field, std::size_t token) {
    require<FormatError>(size <= bytes.size() - at,
                         "{}: truncated: {} of token {} needs {} bytes at offset {}, the file has {}", origin, field,
                         token, size, at, bytes.size());
    std::memcpy(target, bytes.data() + at, size);
    at += size;
  };
  require<FormatError>(vocab_size >= 0, "{}: vocabulary size {}, expected 0 (all) or more", origin, vocab_size);
  std::int32_t longest = 0;
  take(&longest, sizeof longest, "the header in front", 0);
  require<FormatError>(longest > 0, "{}: longest piece has {} bytes, expected a positive number", origin, longest);
  const auto wanted = static_cast<std::size_t>(vocab_size);
  std::vector<std::string> pieces;
  std::vector<float> scores;
  while (vocab_size > 0 ? pieces.size() < wanted : at < bytes.size()) {
    float score = 0;
    std::int32_t length = 0;
    take(&score, sizeof score, "the score", pieces.size());
    take(&length, sizeof length, "the length", pieces.size());
    require<FormatError>(length > 0 && length <= longest, "{}: token {} has length {}, expected 1 to {}", origin,
                         pieces.size(), length, longest);
    require<FormatError>(static_cast<std::size_t>(length) <= bytes.size() - at,
                         "{}: truncated: token {} needs {} bytes at offset {}, the file has {}", origin, pieces.size(),
                         length, at, bytes.size());
    std::string piece(static_cast<std::size_t>(length), '\0');
    take(piece.data(), piece.size(), "the piece", pieces.size());
    pieces.push_back(std::move(piece));
    scores.push_back(score);
  }
  require<FormatError>(at == bytes.size(), "{}: {} bytes are left over behind {} tokens", origin, bytes.size() - at,
                       pieces.size());
  return Llama2cTokenizer(std::move(pieces), std::move(scores), origin);
}

/// Reads a `tokenizer.bin`; see parse_llama2c_tokenizer.  Throws FileError or FormatError.
inline Llama2cTokenizer read_llama2c_tokenizer(const std::filesystem::path& path, Index vocab_size = 0) {
  std::ifstream file(path, std::ios::binary);
  require<FileError>(file.good(), "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  require<FileError>(!file.bad(), "{}: cannot be read", path.string());
  return parse_llama2c_tokenizer(std::as_bytes(std::span(bytes)), vocab_size, path.string());
}

/// The bytes of a tokenizer's `tokenizer.bin`.
inline std::string serialize_llama2c_tokenizer(const Llama2cTokenizer& tokenizer) {
  std::string bytes;
  const auto put = [&](const auto& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  std::size_t longest = 0;
  for (const std::string& piece : tokenizer.pieces()) longest = std::max(longest, piece.size());
  put(static_cast<std::int32_t>(longest));
  for (std::size_t i = 0; i < tokenizer.pieces().size(); ++i) {
    put(tokenizer.scores()[i]);
    put(static_cast<std::int32_t>(tokenizer.pieces()[i].size()));
    bytes += tokenizer.pieces()[i];
  }
  return bytes;
}

/// Writes a `tokenizer.bin`, whole or not at all.  Throws FileError.
inline void write_llama2c_tokenizer(const std::filesystem::path& path, const Llama2cTokenizer& tokenizer) {
  write_file_atomically(path, std::string_view(serialize_llama2c_tokenizer(tokenizer)));
}

}  // namespace lolcats
