// Fuzzes the reader of linearized checkpoints: lolcats.json, a zero byte, and lolcats.safetensors (header, zero byte,
// data).
#include <lolcats/io/method.hpp>

#include "scratch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder = fuzz::scratch_folder();
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  fuzz::write(folder / "lolcats.json", fuzz::take_text(bytes));
  fuzz::write(folder / "lolcats.safetensors", fuzz::safetensors_of(bytes));
  try {
    const std::string method = lolcats::stored_method(folder);
    if (lolcats::stored_recipe(folder)["method"] != method) std::abort();
    lolcats::MethodCheckpoint checkpoint = lolcats::read_method(folder, method);
    for (const std::string& name : checkpoint.maps.names()) {
      try {
        (void)checkpoint.maps.read<float>(name);
      } catch (const lolcats::FormatError&) {  // of another type
      }
    }
    checkpoint.maps.require_all_read();
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
