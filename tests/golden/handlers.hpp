// What the golden tests share: a handler per kind of fixture, and attention whose sizes come from the file.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/state.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/golden.hpp>
#include <lolcats/testing/random.hpp>

#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace golden {

using namespace lolcats;
using testing::Fixture;

// One per kind of fixture; each runs in double and in float.
void adamw(Fixture&);
void attention_transfer(Fixture&);
void cross_entropy(Fixture&);
void decoder_layer(Fixture&);
void feature_map(Fixture&);
void feature_map_init(Fixture&);
void hybrid(Fixture&);
void linear_attention_core(Fixture&);
void linear_attention_gqa(Fixture&);
void lora_finetune(Fixture&);
void lora_linear(Fixture&);
void packing(Fixture&);
void reduce_on_plateau(Fixture&);
void rms_norm(Fixture&);
void rope(Fixture&);
void rope_frequencies_only(Fixture&);
void softmax_attention(Fixture&);
void swiglu(Fixture&);
void tiny_llama(Fixture&);

/// Calls f(float{}) and f(double{}), double last.
template <class F>
void in_both_precisions(F&& f) {
  f(float{});
  f(double{});
}

/// A parameter of the file, of the given shape or its own, trained.
template <class T>
Parameter<Cpu<T>> trained(const Fixture& f, const std::string& name, const Shape* shape = nullptr) {
  Parameter<Cpu<T>> p(testing::array<Cpu<T>>(shape ? *shape : f.shape(name), f.numbers(name)));
  p.train(Cpu<T>{});
  return p;
}

/// Puts dy in the place of the gradient of y and runs the tape backwards.
template <class T>
void pull(Tape<Cpu<T>>& tape, Var<Cpu<T>> y, const std::vector<double>& dy) {
  Cpu<T>::from_host(dy.data(), y.sink().gradient.data, y.value().size());
  tape.replay(0);
}

/// The window that a file names: "sw" or "tile".
struct FileWindow {
  static constexpr bool has_near = true, has_far = true;
  std::variant<Sliding<>, Terraced<>> window = Sliding<>(1);

  static FileWindow of(const Fixture& f, const std::string& kind) {
    const auto width = static_cast<Index>(f.number("window", 1));
    require<FormatError>(kind == "sw" || kind == "tile", "{}: kind is '{}', expected sw or tile", f.name(), kind);
    if (kind == "sw") return {Sliding<>(width)};
    return {Terraced<>(width)};
  }
  Index begin(Index n) const {
    return std::visit([n](const auto& w) { return w.begin(n); }, window);
  }
  Index span() const {
    return std::visit([](const auto& w) { return w.span(); }, window);
  }
  Index period() const {
    return std::visit([](const auto& w) { return w.period(); }, window);
  }
  static std::string name() { return "file"; }
};
static_assert(Window<FileWindow>);

/// Linear attention over features that are given.
struct GivenLinear {
  using Map = GivenFeatures;
  using Window = Nothing;
  static constexpr bool affine = false, shared_maps = false, key_maps_per_group = false;
  static std::string name() { return "given_linear"; }
};
static_assert(AttentionPolicy<GivenLinear>);

using FileHybrid = Hybrid<Hedgehog<dynamic>, FileWindow>;
using FileAffine = Hybrid<Hedgehog<dynamic>, FileWindow, Affine>;
using FileLinear = Linear<Hedgehog<dynamic>>;
using FileSoftmax = Softmax<>;

/// `attention<A>`, `attention_step<A>` and the weights a (N, H, T, T) flattened, compiled once for all units.
template <class A, class T>
Var<Cpu<T>> attend(Tape<Cpu<T>>&, Var<Cpu<T>> q, Var<Cpu<T>> k, Var<Cpu<T>> v, const Sequences&, const Heads&,
                   const AttentionWeights<Cpu<T>>&, const typename A::Window&);
template <class A, class T>
Var<Cpu<T>> step(Tape<Cpu<T>>&, Var<Cpu<T>> q, Var<Cpu<T>> k, Var<Cpu<T>> v, const Sequences&, const Heads&,
                 AttentionState<Cpu<T>>&, const AttentionWeights<Cpu<T>>&, const typename A::Window&);
template <class A, class T>
std::vector<double> weights(View<const T> q, View<const T> k, const Sequences&, const Heads&,
                            const AttentionWeights<Cpu<T>>&, const typename A::Window&);

}  // namespace golden
