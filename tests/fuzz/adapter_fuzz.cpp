// Fuzzes the reader of adapters: adapter_config.json, a zero byte, and adapter_model.safetensors (header, zero byte, data).
#include <lolcats/io/peft.hpp>

#include <cmath>

#include "scratch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string_view config = fuzz::take_text(bytes);
  const std::string tensors = fuzz::safetensors_of(bytes);
  try {
    const lolcats::Safetensors file(std::as_bytes(std::span(tensors)), "fuzz.safetensors");
    const lolcats::PeftAdapter adapter = lolcats::parse_peft(config, "fuzz.json", file);
    for (const auto& [name, pair] : adapter.modules) {
      if (pair.a.shape()[0] != pair.b.shape()[1] || std::isnan(adapter.scale(name))) std::abort();
    }
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
