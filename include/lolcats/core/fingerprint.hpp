// A number that tells two things apart.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace lolcats {

/// FNV-1a over what makes two things different: weights, texts, vocabularies, recipes.  Not for adversaries.
class Fingerprint {
 public:
  void add(std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) hash_ = (hash_ ^ ((value >> shift) & 0xff)) * 0x100000001b3ULL;
  }
  void add(std::string_view text) {
    for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    add(static_cast<std::uint64_t>(text.size()));
  }
  std::uint64_t value() const { return hash_; }
  /// Sixteen hexadecimal digits.
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
};

}  // namespace lolcats
