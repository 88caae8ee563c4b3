// libFuzzer target: any bytes are either a llama2.c checkpoint, whose tensors can all be read, or a FormatError.
#include <lolcats/io/llama2c.hpp>

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    lolcats::Checkpoint checkpoint = lolcats::parse_llama2c(std::as_bytes(std::span(data, size)), "fuzz");
    lolcats::Index read = 0;
    for (const std::string& name : checkpoint.weights.names()) {
      const lolcats::Tensor<double> tensor = checkpoint.weights.read<double>(name);  // reads every byte
      read += tensor.size();
    }
    checkpoint.weights.require_all_read();
    if (read * 4 > static_cast<lolcats::Index>(size)) std::abort();  // tensors cannot hold more than the file
  } catch (const lolcats::FormatError&) {
  }
  return 0;
}
