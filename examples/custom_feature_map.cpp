// A feature map of one's own, in one struct, and the whole method with it.
//
// Prints the perplexity of the built-in teacher, of the student with its attention swapped, transferred and finetuned, and
// the same for Hedgehog: two types, one procedure.
#include "support/corpus.hpp"
#include "support/program.hpp"

#include <lolcats/lolcats.hpp>

using namespace lolcats;

/// phi(x) = softmax(xW)^2 in both signs: sharper than Hedgehog.
struct Sharp : RowMap<8, 2> {  // xW has 8 columns, the map returns 2 rows of 8 features
  static std::string name() { return "sharp<8>"; }

  template <class Row>
  static constexpr Features<Row, 2> features(const Row& z) {
    const Row up = softmax(z), down = softmax(-z);
    return {up * up, down * down};
  }

  template <class Row>
  static constexpr Row pullback(const Row& z, const Features<Row, 2>&, const Features<Row, 2>& dphi) {
    const Row up = softmax(z), down = softmax(-z);
    return softmax_pullback(up, up * dphi[0] * 2.0) - softmax_pullback(down, down * dphi[1] * 2.0);
  }
};
static_assert(FeatureMap<Sharp>);

template <FeatureMap Map>
void study(const Llama<Cpu<float>>& teacher, const DataSet& train, const DataSet& valid) {
  using Student = Llama<Cpu<float>, Hybrid<Map, Terraced<64>>, Lora<8>>;
  auto student = convert<Student>(teacher);  // same weights, new attention
  const auto report = [&](const char* what) {
    fmt::print("{:<14} {:<12} {:.4f}\n", Map::name(), what, perplexity(student, valid).perplexity);
  };
  report("swapped");
  transfer_attention(student, train, valid, TransferRecipe<>{.epochs = 1, .evaluate_every = 0}, examples::print_progress());
  report("transferred");
  finetune(student, train, valid, FinetuneRecipe<>{.epochs = 1, .learning_rate = 1e-3, .evaluate_every = 0}, examples::print_progress());
  report("finetuned");
}

int main() {
  return examples::run_program("custom_feature_map", [] {
    auto teacher = load_llama<Cpu<float>>(examples::built_in_teacher());
    const auto [train, valid, documents] = examples::synthetic_text({}, 128, 32);
    fmt::print("{:<14} {:<12} {:.4f}\n", "teacher", "", perplexity(teacher, valid).perplexity);
    study<Sharp>(teacher, train, valid);
    study<Hedgehog<8>>(teacher, train, valid);
  });
}
