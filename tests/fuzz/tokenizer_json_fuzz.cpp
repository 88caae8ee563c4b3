// Fuzzes the reader of tokenizer.json, then encodes and decodes with whatever is accepted.
#include <lolcats/tokenizer/tokenizer_json.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "encode_and_decode.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  return fuzz::encode_and_decode(text, [&] { return lolcats::parse_tokenizer_json(text, "fuzz"); });
}
