// Fuzzes the tokenizer reader, then encodes and decodes with whatever it accepts.
#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto tokenizer = lolcats::parse_llama2c_tokenizer(std::as_bytes(std::span(data, size)), 0, "fuzz");
    const std::string written = lolcats::serialize_llama2c_tokenizer(tokenizer);
    // the header's longest piece may overstate; everything behind it must come back as it was
    if (written.size() != size ||
        std::string_view(written).substr(4) != std::string_view(reinterpret_cast<const char*>(data), size).substr(4))
      std::abort();
    const std::string_view text(reinterpret_cast<const char*>(data), size < 256 ? size : 256);
    const auto tokens = tokenizer.encode(text, true);
    (void)tokenizer.decode(tokens);
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
