// libFuzzer target: any bytes are either a safetensors file, whose tensors can all be read, or a FormatError.
#include <lolcats/io/safetensors.hpp>

#include <cstdint>

namespace {

template <class T>
void read(const lolcats::Safetensors& file, const std::string& name) {
  try {
    const lolcats::Tensor<T> tensor = file.read<T>(name);
    if (tensor.size() > 0) {  // touches both ends, so that a wrong size is seen
      volatile double sink = static_cast<double>(tensor.span().front()) + static_cast<double>(tensor.span().back());
      static_cast<void>(sink);
    }
  } catch (const lolcats::FormatError&) {  // another dtype
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const lolcats::Safetensors file(std::as_bytes(std::span(data, size)), "fuzz");
    for (const std::string& name : file.names()) {
      read<float>(file, name);
      read<double>(file, name);
      read<lolcats::bf16>(file, name);
      read<std::int64_t>(file, name);
      read<std::int32_t>(file, name);
      read<std::uint8_t>(file, name);
    }
  } catch (const lolcats::FormatError&) {
  }
  return 0;
}
