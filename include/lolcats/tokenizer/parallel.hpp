// Encoding many texts on all cores.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// tokenizer.encode(text, bos, special) of each text, in their order, on all threads.
template <class Text>
std::vector<std::vector<Index>> encode_all(const Tokenizer& tokenizer, std::span<const Text> texts, bool bos,
                                           bool special = false) {
  std::vector<std::vector<Index>> tokens(texts.size());
  parallel_for(static_cast<Index>(texts.size()), [&](Index i) {
    const auto at = static_cast<std::size_t>(i);
    tokens[at] = tokenizer.encode(std::string_view(texts[at]), bos, special);
  });
  return tokens;
}
inline std::vector<std::vector<Index>> encode_all(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                                  bool bos, bool special = false) {
  return encode_all(tokenizer, std::span<const std::string>(texts), bos, special);
}
inline std::vector<std::vector<Index>> encode_all(const Tokenizer& tokenizer,
                                                  const std::vector<std::string_view>& texts, bool bos,
                                                  bool special = false) {
  return encode_all(tokenizer, std::span<const std::string_view>(texts), bos, special);
}

}  // namespace lolcats
