// A feature map of one's own, in one struct, and the whole method with it: a row map, and one composed of tape operations.
//
// Prints the perplexity of the built-in teacher, of the student with its attention swapped, transferred and finetuned, and
// the same for Hedgehog: three types, one procedure.
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

/// Weights that start at zero.
struct ZeroStart {
  static std::string name() { return "zero"; }
  static double weight(Rng&, Index, Index, Index, Index, bool) { return 0; }
};

/// phi(x) = [softmax(z), softmax(-z)], z = xW * exp(xV): Hedgehog whose features have a temperature that depends on x.  With two
/// projections it is no row map; it starts as Hedgehog, as V starts at zero.
struct Tempered {
  static std::string name() { return "tempered<8>"; }

  template <Backend B>
  class Layer {
   public:
    Layer() = default;
    Layer(const B& backend, const Heads& heads, Index count, std::uint64_t seed)
        : w_(backend, count, heads.size, seed, 0), v_(backend, count, heads.size, seed, 1) {}

    /// phi (M, count * 16) of x (M, count * D), heads side by side.
    Var<B> operator()(Tape<B>& tape, Var<B> x, Heads heads) const {
      const Index count = x.cols() / heads.size;
      const Var<B> xw = feature_map<Identity<8>>(tape, x, w_.weight(), {}, count);
      const Var<B> xv = feature_map<Identity<8>>(tape, x, v_.weight(), {}, count);
      const Var<B> z = multiply(tape, xw, exp(tape, xv));  // (M, count * 8)
      return concat(tape, softmax(tape, z, count), softmax(tape, scale(tape, z, -1.0), count), count);
    }

    template <class F>
    void visit_maps(const std::string& at, F&& f) {  // the names in a checkpoint
      w_.visit_maps(at + ".values", f);
      v_.visit_maps(at + ".temperatures", f);
    }

   private:
    FeatureMapLayer<B, Identity<8>> w_;
    FeatureMapLayer<B, StartedBy<Identity<8>, ZeroStart>> v_;
  };
};
static_assert(ComposedFeatureMap<Tempered, Cpu<float>>);

template <AttentionPolicy A>
void study(const Llama<Cpu<float>>& teacher, const DataSet& train, const DataSet& valid) {
  using Student = Llama<Cpu<float>, A, Lora<8>>;
  auto student = convert<Student>(teacher);  // same weights, new attention
  const auto report = [&](const char* what) {
    fmt::print("{:<14} {:<12} {:.4f}\n", A::Map::name(), what, perplexity(student, valid).perplexity);
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
    study<Hybrid<Sharp, Terraced<64>>>(teacher, train, valid);
    study<Composed<Tempered, Terraced<64>>>(teacher, train, valid);
    study<Hybrid<Hedgehog<8>, Terraced<64>>>(teacher, train, valid);
  });
}
