// Fuzzes the reader of tiktoken's ranks, then encodes and decodes with whatever is accepted.
#include <lolcats/tokenizer/tiktoken.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "encode_and_decode.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  return fuzz::encode_and_decode(text, [&] { return lolcats::parse_tiktoken(text, "fuzz"); });
}
