// libFuzzer target: any bytes are either a GGUF file, whose metadata and tensors can all be asked for, or a typed error;
// and the model in it can be read or is a typed error.
#include <lolcats/io/gguf_model.hpp>

#include <cstdint>

namespace {

/// Asks, and lets pass what may be refused.
template <class F>
void ask(F&& f) {
  try {
    f();
  } catch (const lolcats::FormatError&) {
  } catch (const lolcats::ConfigError&) {
  } catch (const lolcats::ShapeError&) {
  }
}

/// Touches every element, so that a wrong size is seen.
template <class T>
void touch(const lolcats::Tensor<T>& tensor) {
  double sum = 0;
  for (const T value : tensor.span()) sum += static_cast<double>(value);
  volatile double sink = sum;
  static_cast<void>(sink);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ask([&] {
    const lolcats::Gguf file(std::as_bytes(std::span(data, size)), "fuzz");
    for (const std::string& key : file.keys()) {
      file.shown_value(key);
      ask([&] { file.integer(key); });
      ask([&] { file.number(key); });
      ask([&] { file.boolean(key); });
      ask([&] { file.text(key); });
      ask([&] { file.texts(key); });
      ask([&] { file.integers(key); });
      ask([&] { file.numbers(key); });
      ask([&] { file.count(key); });
    }
    for (const auto& entry : file.tensors()) {
      const std::string& name = entry.first;
      ask([&] { touch(file.read<float>(name)); });
      ask([&] { touch(file.read<double>(name)); });
      ask([&] { touch(file.read<lolcats::bf16>(name)); });
      ask([&] { touch(file.read<std::int64_t>(name)); });
      ask([&] { touch(file.read<std::int32_t>(name)); });
    }
    lolcats::Checkpoint checkpoint = lolcats::read_gguf(file);
    for (const std::string& name : checkpoint.weights.names()) {
      ask([&] { touch(checkpoint.weights.read<float>(name)); });
      ask([&] { touch(checkpoint.weights.read<lolcats::bf16>(name)); });
    }
    ask([&] { checkpoint.weights.require_all_read(); });
  });
  return 0;
}
