// Where a text ends, and how new tokens are spelled behind a prompt.
#pragma once

#include <lolcats/data/text_encoder.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace examples {

using lolcats::Index;

/// The tokens that end a text: those of the model's config, the tokenizer's, and what divides documents in training, which
/// a chat model may not name.
inline std::vector<Index> end_tokens(const lolcats::LlamaConfig& config, const lolcats::Tokenizer& tokenizer) {
  std::vector<Index> tokens = config.eos_tokens;
  for (const auto& end : {tokenizer.eos(), lolcats::end_of_text(tokenizer)}) {
    if (end && std::find(tokens.begin(), tokens.end(), *end) == tokens.end()) tokens.push_back(*end);
  }
  return tokens;
}

/// The text of `more` behind `prompt`, which holds a token at least.
inline std::string text_behind(const lolcats::Tokenizer& tokenizer, const std::vector<Index>& prompt, const std::vector<Index>& more,
                               bool special) {
  std::string text;
  Index previous = prompt.back();
  for (const Index token : more) {
    text += tokenizer.decode_piece(previous, token, special);
    previous = token;
  }
  return text;
}

}  // namespace examples
