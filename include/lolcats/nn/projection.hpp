// A projection of a decoder layer: a weight, a bias where the model has one, an adapter where the policy asks for one.
#pragma once

#include <lolcats/core/parallel.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/nn/fresh_parameter.hpp>
#include <lolcats/ops/lora_linear/lora_linear.hpp>
#include <lolcats/policy/lora.hpp>

#include <bit>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// The stream of one projection of one layer; unique in a model.
constexpr std::uint64_t projection_stream(Index layer, Projections which) {
  return static_cast<std::uint64_t>(layer) * 8 +
         static_cast<std::uint64_t>(std::countr_zero(static_cast<unsigned>(which)));
}

/// w (O, I) + scale * b (O, R) a (R, I) in storage of its own: in double, a block of rows at a time, rounded once.
template <Backend B>
Parameter<B> add_low_rank(const B& backend, View<const Scalar<B>> w, const std::vector<double>& a,
                          const std::vector<double>& b, Index rank, double scale) {
  const Index out = w.rows(), in = w.cols();
  Array<B> sum(w.shape);
  const Index block = std::max<Index>(1, (Index{1} << 22) / std::max<Index>(in, 1));
  std::vector<double> rows(static_cast<std::size_t>(std::min(block, out) * in));
  for (Index first = 0; first < out; first += block) {
    const Index count = std::min(block, out - first);
    backend.to_host(w.data + first * in, rows.data(), count * in);
    parallel_ranges(count, 16, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        for (Index r = 0; r < rank; ++r) {
          const double factor = scale * b[static_cast<std::size_t>((first + i) * rank + r)];
          for (Index j = 0; j < in; ++j) {
            rows[static_cast<std::size_t>(i * in + j)] += factor * a[static_cast<std::size_t>(r * in + j)];
          }
        }
      }
    });
    backend.from_host(rows.data(), sum.data() + first * in, count * in);
  }
  return Parameter<B>(std::move(sum));
}

/// What an adapted projection holds besides its weight.
template <Backend B>
struct LowRank {
  Parameter<B> a;         // (R, I)
  Parameter<B> b;         // (O, R)
  Parameter<B> original;  // the base weight while merged
  std::uint64_t stream = 0;
  bool active = true;
  bool merged = false;
};
struct NoLowRank {};

/// A fresh adapter of a projection (out, in).
template <Backend B>
LowRank<B> fresh_low_rank(const B& backend, Index rank, Index in, Index out, std::uint64_t stream, std::uint64_t seed) {
  LowRank<B> fresh;
  fresh.stream = stream;
  Rng rng(seed, adapter_streams + stream);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  std::vector<double> a(static_cast<std::size_t>(rank * in));
  for (double& value : a) value = rng.uniform(-bound, bound);
  fresh.a = make_parameter(backend, Shape{rank, in}, a);
  fresh.b = make_parameter(backend, Shape{out, rank}, std::vector<double>(static_cast<std::size_t>(out * rank), 0.0));
  return fresh;
}

/// y (M, O) = x W^T + bias, plus scale * (mask(x) A^T) B^T where the adapter is on and not merged.
template <Backend B>
Var<B> adapted_linear(Tape<B>& tape, Var<B> x, const Parameter<B>& weight, const Parameter<B>& bias, const LowRank<B>& adapter, double scale,
                      double dropout) {
  if (!adapter.active || adapter.merged) return linear<B>(tape, x, weight, bias);
  return lora_linear<B>(tape, x, weight, adapter.a, adapter.b, scale, dropout, adapter.stream, bias);
}

/// Puts weight + scale * B A in the place of the weight.
template <Backend B>
void merge_low_rank(const B& backend, LowRank<B>& adapter, Parameter<B>& weight, double scale) {
  if (adapter.merged) return;
  std::vector<double> a(static_cast<std::size_t>(adapter.a.size())), b(static_cast<std::size_t>(adapter.b.size()));
  backend.to_host(adapter.a.value().data, a.data(), adapter.a.size());
  backend.to_host(adapter.b.value().data, b.data(), adapter.b.size());
  Parameter<B> sum = add_low_rank(backend, weight.value(), a, b, adapter.a.shape()[0], scale);
  adapter.original = std::exchange(weight, std::move(sum));
  adapter.merged = true;
}

}  // namespace detail

/// y (M, O) = x (M, I) W^T, plus a bias (O) where the checkpoint has one, plus (Alpha / Rank) (mask(x) A^T) B^T where
/// `Which` is a target of P.
///
/// A starts uniform in +-1/sqrt(I), B at zero, so that a fresh adapter changes nothing.  Where it is no target, the
/// adapter takes neither time nor memory.
template <Backend B, AdapterPolicy P, Projections Which>
class Projection {
 public:
  static constexpr Projections which = Which;
  static constexpr bool adapted = P::targets.contains(Which);

  Projection() = default;
  /// The base weight (out, in), and the bias (out) if it is `biased`, are filled in through `visit_base`.
  Projection(const B& backend, Index in, Index out, Index layer, std::uint64_t seed, bool biased = false)
      : in_(in), out_(out), biased_(biased) {
    if constexpr (adapted) {
      low_rank_ = detail::fresh_low_rank(backend, P::rank, in, out, detail::projection_stream(layer, Which), seed);
    }
  }

  Var<B> operator()(Tape<B>& tape, Var<B> x) const {
    if constexpr (adapted) return detail::adapted_linear(tape, x, weight_, bias_, low_rank_, scale(), P::dropout);
    else return linear<B>(tape, x, weight_, bias_);
  }

  /// f(name, shape, parameter) for the base weight and the bias.
  template <class F>
  void visit_base(const std::string& name, F&& f) {
    f(name + ".weight", Shape{out_, in_}, weight_);
    if (biased_) f(name + ".bias", Shape{out_}, bias_);
  }
  /// The same for A and B, if there are any.
  template <class F>
  void visit_adapter([[maybe_unused]] const std::string& name, [[maybe_unused]] F&& f) {
    if constexpr (adapted) {
      f(name + ".lora_A.weight", Shape{P::rank, in_}, low_rank_.a);
      f(name + ".lora_B.weight", Shape{out_, P::rank}, low_rank_.b);
    }
  }

  const Parameter<B>& weight() const { return weight_; }
  /// Switches the adapter on or off.
  void use_adapter([[maybe_unused]] bool on) {
    if constexpr (adapted) low_rank_.active = on;
  }

  /// Puts W + (Alpha / Rank) B A in the place of W, in storage of its own; `unmerge` puts W back.
  void merge([[maybe_unused]] const B& backend) {
    if constexpr (adapted) {
      detail::merge_low_rank(backend, low_rank_, weight_, scale());
    }
  }
  void unmerge() {
    if constexpr (adapted) {
      if (low_rank_.merged) weight_ = std::exchange(low_rank_.original, Parameter<B>());
      low_rank_.merged = false;
    }
  }

 private:
  static constexpr double scale() { return P::rank ? P::alpha / static_cast<double>(P::rank) : 0; }

  Index in_ = 0, out_ = 0;
  bool biased_ = false;
  Parameter<B> weight_;  // (O, I)
  Parameter<B> bias_;    // (O); empty if there is none
  [[no_unique_address]] std::conditional_t<adapted, detail::LowRank<B>, detail::NoLowRank> low_rank_;
};

}  // namespace lolcats
