// A study of one's own: a new feature map and a new window against Hedgehog, each one type more in a list; on the GPU, too.
#include "support/corpus.hpp"
#include "support/device.hpp"
#include "support/program.hpp"

#include <lolcats/lolcats.hpp>

using namespace lolcats;

struct Steep : RowMap<16> {  // phi(x) = softmax(2 xW)
  static std::string name() { return "steep<16>"; }
  static constexpr auto features(const auto& z) { return Features<std::decay_t<decltype(z)>, 1>{softmax(z * 2.0)}; }
  static constexpr auto pullback(const auto&, const auto& phi, const auto& dphi) { return softmax_pullback(phi[0], dphi[0]) * 2.0; }
};
struct Stepped {  // the latest 32 keys and more, moving on in steps of 8
  static constexpr bool has_near = true, has_far = true;
  static constexpr Index begin(Index n) { return std::max<Index>(0, n - 31) / 8 * 8; }
  static constexpr Index span() { return 39; }
  static constexpr Index period() { return 8; }
  static std::string name() { return "stepped"; }
};

int main() {
  return examples::run_program("own_study", [] {
    using namespace examples;
    auto teacher = load_llama<Device>(built_in_teacher());
    const SyntheticText text = synthetic_text({.length = 256}, 32, 16);
    Procedure procedure;
    procedure.transfer.learning_rate = 0.1;
    procedure.finetune.learning_rate = 0.01;
    const auto result = ablate<Variant<Hybrid<Hedgehog<8>, Sliding<32>>>, Variant<Hybrid<Steep, Sliding<32>>>, Variant<Hybrid<Hedgehog<8>, Stepped>>>(
        teacher, text.train, text.valid, procedure, {.seeds = {0, 1}, .progress = print_progress()});
    fmt::print("{}", table(result, {{"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}}));
  });
}
