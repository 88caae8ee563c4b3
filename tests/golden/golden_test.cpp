// Every fixture of a folder through the handler of its kind.  The folder: LOLCATS_GOLDEN, or the committed copy.
#include "handlers.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

using namespace golden;

namespace {

/// The kinds, by the beginning of the file's name; the longest that fits.
constexpr std::pair<std::string_view, void (*)(Fixture&)> handlers[] = {
    {"adamw", adamw},
    {"attention_transfer", attention_transfer},
    {"cross_entropy", cross_entropy},
    {"decoder_layer", decoder_layer},
    {"feature_map", feature_map},
    {"feature_map_init", feature_map_init},
    {"hybrid", hybrid},
    {"linear_attention_core", linear_attention_core},
    {"linear_attention_gqa", linear_attention_gqa},
    {"lora_finetune", lora_finetune},
    {"lora_linear", lora_linear},
    {"packing", packing},
    {"reduce_on_plateau", reduce_on_plateau},
    {"rms_norm", rms_norm},
    {"rope", golden::rope},
    {"rope_llama31_frequencies", rope_frequencies_only},
    {"softmax_attention", softmax_attention},
    {"swiglu", golden::swiglu},
    {"tiny_llama", tiny_llama},
};

void (*handler_of(std::string_view name))(Fixture&) {
  void (*found)(Fixture&) = nullptr;
  std::size_t longest = 0;
  for (const auto& [kind, handler] : handlers) {
    if (name.starts_with(kind) && kind.size() > longest) {
      found = handler;
      longest = kind.size();
    }
  }
  return found;
}

std::filesystem::path folder() {
  const char* chosen = std::getenv("LOLCATS_GOLDEN");
  if (chosen && *chosen) return chosen;
#ifdef LOLCATS_GOLDEN_DEFAULT
  return LOLCATS_GOLDEN_DEFAULT;
#else
  return std::filesystem::path(__FILE__).parent_path();
#endif
}

}  // namespace

TEST_CASE("golden fixtures") {
  if (!backends_available()) return;
  const auto paths = testing::fixtures_in(folder());
  REQUIRE_MESSAGE(!paths.empty(), "no fixtures in ", folder().string());
  for (const auto& path : paths) {
    CAPTURE(path.string());
    void (*handler)(Fixture&) = handler_of(path.stem().string());
    if (!handler) {
      FAIL_CHECK("no handler for this kind of fixture");
      continue;
    }
    try {
      Fixture fixture(path);
      handler(fixture);
      for (const std::string& name : fixture.unchecked()) FAIL_CHECK("nothing was compared with ", name);
    } catch (const Error& error) {
      FAIL_CHECK(std::string(error.what()));  // of a char pointer doctest prints the address
    }
  }
}
