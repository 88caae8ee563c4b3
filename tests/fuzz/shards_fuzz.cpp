// Fuzzes the reader of model.safetensors.index.json, beside two shards: one.safetensors with tensor a, two.safetensors
// with b and c.
#include <lolcats/io/huggingface.hpp>

#include "scratch.hpp"

namespace {

std::filesystem::path make_shards() {
  const std::filesystem::path folder = fuzz::scratch_folder();
  using namespace std::string_literals;
  fuzz::write(folder / "one.safetensors",
              fuzz::safetensors_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}\0xx"s));
  fuzz::write(folder / "two.safetensors",
              fuzz::safetensors_of("{\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                                   "\"c\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}\0xx"s));
  return folder / "model.safetensors.index.json";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path index = make_shards();
  fuzz::write(index, std::string_view(reinterpret_cast<const char*>(data), size));
  try {
    lolcats::TensorStore tensors = lolcats::open_sharded_tensors(index);
    for (const std::string& name : tensors.names()) (void)tensors.read<std::uint8_t>(name);
    tensors.require_all_read();
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
