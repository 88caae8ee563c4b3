// What the fuzz targets of tokenizers have in common.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/stream.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

namespace fuzz {

/// Makes a tokenizer and gives it texts.  Refusing is what bad bytes deserve; any exception that is not the library's is
/// a finding, and so is an id outside of the vocabulary.
template <class Make>
int encode_and_decode(std::string_view bytes, Make&& make) {
  const std::string plain =
      "Hello  world's 12345\n\t\xC3\xA9 e\xCC\x81 \xE2\x96\x81<s></s><|im_end|>" + std::string(50, 'a');
  const std::string texts[] = {plain, "a\xFF\x80 b", std::string(bytes.substr(0, 200)),
                               std::string(bytes.substr(bytes.size() / 2, 200))};
  try {
    const auto tokenizer = make();
    for (const std::string& text : texts) {
      for (const bool special : {false, true}) {
        try {
          const auto tokens = tokenizer->encode(text, tokenizer->adds_bos(), special);
          lolcats::StreamDecoder decoder(*tokenizer);
          for (const auto token : tokens) {
            if (token < 0 || token >= tokenizer->vocab_size()) std::abort();
            (void)decoder.push(token);
          }
          (void)decoder.finish();
          (void)tokenizer->decode(tokens, special);
        } catch (const lolcats::DataError&) {
        }
      }
    }
  } catch (const lolcats::Error&) {
  }
  return 0;
}

}  // namespace fuzz
