// Fuzzes the reader of config.json and, behind a zero byte, generation_config.json.  What is accepted is written and read
// again.
#include <lolcats/io/hf_config.hpp>

#include "scratch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string_view text = fuzz::take_text(bytes);
  try {
    lolcats::LlamaConfig config = lolcats::parse_config(text, "fuzz");
    if (lolcats::parse_config(lolcats::format_config(config, lolcats::DType::F32), "again") != config) std::abort();
    lolcats::parse_generation_config(bytes, "fuzz", config);
    config.validate();
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
