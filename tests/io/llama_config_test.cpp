#include <lolcats/io/llama_config.hpp>

#include "support.hpp"

#include <limits>

using namespace lolcats;
using namespace io_test;

namespace {

LlamaConfig good() {
  LlamaConfig config;
  config.vocab_size = 96;
  config.hidden_size = 48;
  config.layers = 3;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.intermediate_size = 80;
  config.max_position = 256;
  return config;
}

template <class F>
void refuses_change(F&& change, std::initializer_list<std::string_view> parts) {
  LlamaConfig config = good();
  change(config);
  check_throws<ConfigError>([&] { config.validate(); }, parts);
}

}  // namespace

TEST_CASE("a good config is good") {
  LlamaConfig config = good();
  CHECK_NOTHROW(config.validate());
  config.rope = {RopeKind::Llama3, 5e5, 8, 1, 4, 8192};
  config.bos_token = 95;
  config.eos_tokens = {0, 1};
  config.head_dim = 10;  // heads * head_dim need not be hidden_size
  CHECK_NOTHROW(config.validate());
}

TEST_CASE("each contradiction names its field") {
  using C = LlamaConfig;
  refuses_change([](C& c) { c.vocab_size = 0; }, {"LlamaConfig: vocab_size is 0, expected 1 to 2147483647"});
  refuses_change([](C& c) { c.hidden_size = -1; }, {"hidden_size is -1"});
  refuses_change([](C& c) { c.layers = 0; }, {"layers is 0"});
  refuses_change([](C& c) { c.heads = 0; }, {"heads is 0"});
  refuses_change([](C& c) { c.kv_heads = 0; }, {"kv_heads is 0"});
  refuses_change([](C& c) { c.head_dim = 0; }, {"head_dim is 0"});
  refuses_change([](C& c) { c.intermediate_size = 0; }, {"intermediate_size is 0"});
  refuses_change([](C& c) { c.max_position = 0; }, {"max_position is 0"});
  refuses_change([](C& c) { c.hidden_size = Index{1} << 40; }, {"hidden_size is 1099511627776"});
  refuses_change([](C& c) { c.kv_heads = 4; }, {"heads is 6, expected a multiple of kv_heads 4"});
  refuses_change([](C& c) { c.head_dim = 7; }, {"head_dim is 7, expected an even number"});
  refuses_change([](C& c) { c.heads = c.kv_heads = 1 << 20, c.head_dim = 1 << 20; },
                 {"heads * head_dim is 1099511627776"});
  refuses_change([](C& c) { c.rms_eps = -1; }, {"rms_eps is -1"});
  refuses_change([](C& c) { c.rms_eps = std::numeric_limits<double>::quiet_NaN(); }, {"rms_eps is nan"});
  refuses_change([](C& c) { c.sliding_window = -1; }, {"sliding_window is -1"});
  refuses_change([](C& c) { c.rope.theta = 0; }, {"rope.theta is 0"});
  refuses_change([](C& c) { c.rope = {RopeKind::Linear, 1e4, 0, 1, 4, 0}; }, {"rope.factor is 0"});
  refuses_change([](C& c) { c.rope = {RopeKind::Llama3, 1e4, 8, 4, 4, 32}; },
                 {"low_freq_factor is 4", "0 < low < high"});
  refuses_change([](C& c) { c.rope = {RopeKind::Llama3, 1e4, 8, 1, 4, 0}; }, {"rope.original_max_position is 0"});
  refuses_change([](C& c) { c.bos_token = 96; }, {"bos_token is 96, expected 0 to 95"});
  refuses_change([](C& c) { c.eos_tokens = {1, -1}; }, {"eos_tokens is -1"});
}
