// A backend with what the library asks for and nothing more: the list of kernels that docs/backends.md explains.
//
// Next to nothing is defined, so nothing links; what compiles over it asks a backend for nothing else
// (tests/library/archetype_backend.cpp).  Each declaration is explained where the kernel is declared.
#pragma once

#include <lolcats/ops/arg_max/arg_max.hpp>
#include <lolcats/ops/attention/state.hpp>
#include <lolcats/ops/attention/weights.hpp>
#include <lolcats/ops/blend/blend.hpp>
#include <lolcats/ops/concat/concat.hpp>
#include <lolcats/ops/cross_entropy/cross_entropy.hpp>
#include <lolcats/ops/delta_rule/delta_rule.hpp>
#include <lolcats/ops/divergence/divergence.hpp>
#include <lolcats/ops/dropout/dropout.hpp>
#include <lolcats/ops/elementwise/elementwise.hpp>
#include <lolcats/ops/embedding/embedding.hpp>
#include <lolcats/ops/feature_map/feature_map.hpp>
#include <lolcats/ops/lerp/lerp.hpp>
#include <lolcats/ops/linear/linear.hpp>
#include <lolcats/ops/lora_linear/lora_linear.hpp>
#include <lolcats/ops/novelty/novelty.hpp>
#include <lolcats/ops/rms_norm/rms_norm.hpp>
#include <lolcats/ops/rope/rope.hpp>
#include <lolcats/ops/softmax/softmax.hpp>
#include <lolcats/ops/squared_error/squared_error.hpp>
#include <lolcats/ops/swiglu/swiglu.hpp>
#include <lolcats/ops/weight_cross_entropy/weight_cross_entropy.hpp>
#include <lolcats/train/adamw.hpp>
#include <lolcats/train/gradients.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lolcats::testing {

/// Memory that the host cannot read.
struct Elsewhere {
  static constexpr std::size_t alignment = 16;
  static void* allocate(std::size_t bytes);
  static void release(void* memory) noexcept;
};

/// Activations in float, sums in double, so that neither passes for the other.
struct ArchetypeBackend {
  using Scalar = float;
  using Real = double;
  using Space = Elsewhere;
  static constexpr std::string_view name() { return "archetype"; }
  template <class T>
  void zero(T* data, Index n) const;
  template <class From, class To>
  void copy(const From* from, To* to, Index n) const;
  template <class T>
  void to_host(const T* from, double* to, Index n) const;
  template <class T>
  void from_host(const double* from, T* to, Index n) const;
  template <class T>
  void download(const T* from, T* to, Index n) const;
  template <class T>
  void upload(const T* from, T* to, Index n) const;
  friend bool operator==(const ArchetypeBackend&, const ArchetypeBackend&) = default;
};
static_assert(Backend<ArchetypeBackend> && !in_host_memory<ArchetypeBackend>);

/// What its kernels are called with.
struct ArchetypeKernel {
  using B = ArchetypeBackend;
  using In = View<const float>;
  using InReal = View<const double>;
  using Out = Sink<float>;
  using Tokens = std::span<const Index>;
};

}  // namespace lolcats::testing

namespace lolcats {

// ---- A model's forward pass. ------------------------------------------------------------------------------------------

template <>
struct EmbeddingKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, Tokens tokens, In table, View<float> y);
  static void table_gradient(const B&, Tokens tokens, In dy, View<double> dtable);
};

template <>
struct RmsNormKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In x, In w, double eps, View<double> inverse, View<float> y);
  static void backward(const B&, In dy, In x, In w, InReal inverse, Out dx, View<double> dw);
};

template <>
struct LinearKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In x, In w, Out y);
  static void input_gradient(const B&, In dy, In w, Out dx);
  static void weight_gradient(const B&, In dy, In x, View<double> dw);
  static void spread(const B&, In bias, View<float> y);
  static void bias_gradient(const B&, In dy, View<double> db);
};

template <>
struct LoraLinearKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In x, In w, In a, In b, double scale, const DropoutMask& mask, View<float> t, Out y);
  static void low_gradient(const B&, In dy, In b, double scale, View<float> dt);
  static void b_gradient(const B&, In dy, In t, double scale, View<double> db);
  static void a_gradient(const B&, In dt, In x, const DropoutMask& mask, View<double> da);
  static void input_gradient(const B&, In dy, In dt, In w, In a, const DropoutMask& mask, Out dx);
};

template <>
struct RopeKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void rotate(const B&, In x, const Sequences& sequences, InReal cos, InReal sin, int direction, Out y);
};

template <>
struct SwigluKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In gate, In up, View<float> y);
  static void backward(const B&, In dy, In gate, In up, Out dgate, Out dup);
};

template <>
struct ElementwiseKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {  // for Scalar and for Real
  template <class T>
  static void add(const B&, View<const T> a, View<const T> b, View<T> y);
  template <class T>
  static void multiply(const B&, View<const T> a, View<const T> b, Sink<T> y);
  template <class T>
  static void exp(const B&, View<const T> x, View<T> y);
  template <class T>
  static void accumulate(const B&, View<const T> x, double factor, Sink<T> y);
  template <class T>
  static void sum(const B&, View<const T> x, double factor, View<double> y);
  template <class T>
  static void fill(const B&, InReal value, double factor, Sink<T> x);
};

template <class Map, Window W, MemoryPolicy M>
struct AttentionKernel<testing::ArchetypeBackend, Map, W, M> : testing::ArchetypeKernel {
  using Problem = AttentionProblem<B, W>;
  static void forward(const B&, const Problem&, View<float> y, const AttentionStatistics<B>&);
  static void backward(Tape<B>&, const Problem&, In y, In dy, const AttentionStatistics<B>&, const AttentionSinks<B>&);
};

// ---- Training. --------------------------------------------------------------------------------------------------------

template <>
struct CrossEntropyKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In hidden, In head, Tokens labels, View<double> lse, View<double> losses);
  static void backward(const B&, InReal upstream, double scale, In hidden, In head, Tokens labels, InReal lse,
                       Out dhidden, View<double> dhead);
};

template <>
struct SquaredErrorKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In a, In target, double scale, View<double> y);
  static void gradient(const B&, InReal upstream, In a, In target, double scale, Out da);
};

template <>
struct DropoutKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void apply(const B&, In x, const DropoutMask& mask, Out y);
};

template <>
struct AdamWKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void update(const B&, const AdamWCoefficients&, std::span<const AdamWPart<B>>);
};

template <>
struct GradientKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  using Gradients = std::span<const View<double>>;
  static void zero(const B&, Gradients);
  static std::vector<double> sums_of_squares(const B&, Gradients);
  static void scale(const B&, Gradients, double factor);
};

// ---- Generation. ------------------------------------------------------------------------------------------------------

template <class Map, Window W, MemoryPolicy M>
struct AttentionStateKernel<testing::ArchetypeBackend, Map, W, M> : testing::ArchetypeKernel {
  using Slot = AttentionState<B>::Slot;
  static void step(const B&, const AttentionProblem<B, W>&, std::span<Slot* const> slots, View<float> y);
};

template <>
struct ArgMaxKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In x, View<std::int32_t> column);
};

// ---- What only some programs ask for: distillation, gates of heads, other losses of stage 1, pictures of attention,
// composed maps. ---------------------------------------------------------------------------------------------------------

template <>
struct DivergenceKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, double temperature, In hidden, In teacher, In head, Tokens labels, View<double> lse,
                      View<double> teacher_lse, View<double> divergences);
  static void backward(const B&, InReal upstream, double scale, double temperature, In hidden, In teacher, In head,
                       Tokens labels, InReal lse, InReal teacher_lse, Out dhidden);
};

template <class Map, Window W>
struct WeightCrossEntropyKernel<testing::ArchetypeBackend, Map, W> : testing::ArchetypeKernel {
  using Problem = AttentionProblem<B, W>;
  static void forward(Tape<B>&, const Problem&, const Sliding<>& teacher_window, double scale, View<double> y);
  static void backward(Tape<B>&, const Problem&, const Sliding<>& teacher_window, double scale, InReal upstream);
};

template <class Map, Window W, MemoryPolicy M>
struct AttentionWeightsKernel<testing::ArchetypeBackend, Map, W, M> : testing::ArchetypeKernel {
  using Problem = AttentionProblem<B, W>;
  template <class F>
  static void visit(const B&, const Problem&, F&&) {}  // F may be local to its caller
  static void largest(const B&, const Problem&, std::span<const int> begins, std::span<float> to);
};

template <>
struct NoveltyKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In k, Index heads, const Sequences&, std::span<double* const> sums, View<float> y);
};

template <>
struct LerpKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In start, In end, In weights, View<float> y);
  static void gradients(const B&, In dy, In weights, Out dstart, Out dend);
  static void weight_gradient(const B&, In dy, In start, In end, View<double> dweights);
};

template <>
struct BlendKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In near, In far, In factors, View<float> y);
  static void gradients(const B&, In dy, In factors, Out dnear, Out dfar);
  static void factor_gradient(const B&, In dy, In near, In far, In factors, View<double> dfactors);
};

template <GatePolicy R>
struct DeltaRuleKernel<testing::ArchetypeBackend, R> : testing::ArchetypeKernel {
  using Problem = DeltaRuleProblem<B>;
  static void forward(const B&, const Problem&, std::span<double* const> states, const DeltaRuleRecord<B>&, View<float> y);
  static void backward(const B&, const Problem&, const DeltaRuleRecord<B>&, In dy, const DeltaRuleSinks<B>&);
};

template <>
struct SoftmaxKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In x, View<float> y);
  static void backward(const B&, In dy, In y, Out dx);
};

template <>
struct ConcatKernel<testing::ArchetypeBackend> : testing::ArchetypeKernel {
  static void forward(const B&, In a, In b, View<float> y);
  static void backward(const B&, In dy, Out da, Out db);
};

template <FeatureMap M>
struct FeatureMapKernel<testing::ArchetypeBackend, M> : testing::ArchetypeKernel {
  static void forward(const B&, In x, const Weight<B>& map, const Weight<B>& bias, Index heads, View<float> phi);
  static void backward(const B&, In x, const Weight<B>& map, const Weight<B>& bias, Index heads, In dphi, Out dx);
};

}  // namespace lolcats
