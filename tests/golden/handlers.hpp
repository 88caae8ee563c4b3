// What the golden tests share: a handler per kind of fixture, and attention whose sizes come from the file.
#pragma once

#include <lolcats/backend/cpu.hpp>
#ifdef __CUDACC__
#include <lolcats/backend/cuda.cuh>
#include <lolcats/testing/gpu.cuh>
#endif
#include <lolcats/io/llama_config.hpp>
#include <lolcats/ops/attention/attention.hpp>
#include <lolcats/ops/attention/state.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/lora.hpp>
#include <lolcats/testing/golden.hpp>
#include <lolcats/testing/random.hpp>

#include <string>
#include <type_traits>
#include <vector>

namespace golden {

using namespace lolcats;
using testing::Fixture;

// One per kind of fixture; each runs on every backend.
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

/// Calls f(B{}) for the backends that this unit is compiled for: a .cu compiles the same text for the GPU.
template <class F>
void on_every_backend(F&& f) {
#ifdef __CUDACC__
  f(Cuda<float>{});
  f(Cuda<bf16>{});
#else
  f(Cpu<float>{});
  f(Cpu<double>{});
#endif
}
/// Can this program run here?  If not, says why.
inline bool backends_available() {
#ifdef __CUDACC__
  return testing::have_gpu();
#else
  return true;
#endif
}

/// The numbers of an array or a view of the backend on the host, or those of a vector.
template <class B, class Numbers>
std::vector<double> numbers_of(const Numbers& x) {
  if constexpr (std::is_same_v<Numbers, std::vector<double>>) {
    return x;
  } else if constexpr (requires { x.view(); }) {
    return testing::host(B{}, x.view());
  } else {
    return testing::host(B{}, x);
  }
}

/// Has B computed the expected array of this name?
template <class B, class Numbers>
void check(Fixture& f, const std::string& name, const Numbers& got) {
  f.check<Scalar<B>>(name, numbers_of<B>(got));
}
/// The same for an array (B, H, N, d) against (B * N, H * d).
template <class B, class Numbers>
void check_rows(Fixture& f, const std::string& name, const Numbers& got) {
  f.check_rows<Scalar<B>>(name, numbers_of<B>(got));
}
template <class B>
void check_number(Fixture& f, const std::string& name, double got) {
  f.check_number<Scalar<B>>(name, got);
}

/// A parameter of the file, of the given shape or its own, trained.
template <class B>
Parameter<B> trained(const Fixture& f, const std::string& name, const Shape* shape = nullptr) {
  Parameter<B> p(testing::array<B>(shape ? *shape : f.shape(name), f.numbers(name)));
  p.train(B{});
  return p;
}

/// Puts dy in the place of the gradient of y and runs the tape backwards.
template <class B>
void pull(Tape<B>& tape, Var<B> y, const std::vector<double>& dy) {
  B{}.from_host(dy.data(), y.sink().gradient.data, y.value().size());
  tape.replay(0);
}

/// The rope that a file names by `rope_scaling`; its base stands under the key `theta`.
inline RopeConfig rope_config(const Fixture& f, const char* theta) {
  RopeConfig rope;
  rope.theta = f.number(theta, 10000);
  const auto& config = f.config();
  if (!config.contains("rope_scaling") || config["rope_scaling"].is_null()) return rope;
  const auto& scaling = config["rope_scaling"];
  const std::string kind = scaling.at("rope_type").get<std::string>();
  require<FormatError>(kind == "linear" || kind == "llama3", "{}: rope_type is '{}'", f.name(), kind);
  rope.kind = kind == "linear" ? RopeKind::Linear : RopeKind::Llama3;
  rope.factor = scaling.at("factor").get<double>();
  rope.low_freq_factor = scaling.value("low_freq_factor", 1.0);
  rope.high_freq_factor = scaling.value("high_freq_factor", 4.0);
  rope.original_max_position = scaling.value("original_max_position_embeddings", Index{0});
  return rope;
}

/// The window that a file names: "sw" or "tile".
struct FileWindow {
  static constexpr bool has_near = true, has_far = true;
  bool tiles = false;
  Sliding<> sliding = Sliding<>(1);
  Terraced<> terraced = Terraced<>(1);

  static FileWindow of(const Fixture& f, const std::string& kind) {
    const auto width = static_cast<Index>(f.number("window", 1));
    require<FormatError>(kind == "sw" || kind == "tile", "{}: kind is '{}', expected sw or tile", f.name(), kind);
    return {kind == "tile", Sliding<>(width), Terraced<>(width)};
  }
  constexpr Index begin(Index n) const { return tiles ? terraced.begin(n) : sliding.begin(n); }
  constexpr Index span() const { return tiles ? terraced.span() : sliding.span(); }
  constexpr Index period() const { return tiles ? terraced.period() : sliding.period(); }
  static std::string name() { return "file"; }
};
static_assert(Window<FileWindow>);

/// Attention A over features that are given.
template <class A>
struct Given : A {
  using Map = GivenFeatures;
  static std::string name() { return "given_" + A::name(); }
};

using FileHybrid = Hybrid<Hedgehog<dynamic>, FileWindow>;
using FileAffine = Hybrid<Hedgehog<dynamic>, FileWindow, Affine>;
using FileLinear = Linear<Hedgehog<dynamic>>;
using FileSoftmax = Softmax<>;
using GivenHybrid = Given<FileHybrid>;
using GivenAffine = Given<FileAffine>;
using GivenLinear = Given<FileLinear>;
static_assert(AttentionPolicy<GivenHybrid> && AttentionPolicy<GivenAffine> && AttentionPolicy<GivenLinear>);

/// `attention<A>`, `attention_step<A>` and the weights a (N, H, T, T) flattened, compiled once for all units.
template <class A, class B>
Var<B> attend(Tape<B>&, Var<B> q, Var<B> k, Var<B> v, const Sequences&, const Heads&, const AttentionWeights<B>&,
              const typename A::Window&);
template <class A, class B>
Var<B> step(Tape<B>&, Var<B> q, Var<B> k, Var<B> v, const Sequences&, const Heads&, AttentionState<B>&,
            const AttentionWeights<B>&, const typename A::Window&);
template <class A, class B>
std::vector<double> weights(View<const Scalar<B>> q, View<const Scalar<B>> k, const Sequences&, const Heads&,
                            const AttentionWeights<B>&, const typename A::Window&);

/// Whole models with other maps than Hedgehog, whose features are given to the attention, are computed by this alone: the
/// formulas are what is checked, and the operations are tested on every backend elsewhere.
using OtherMaps = Cpu<double>;
/// phi (M, heads * F) of x (M, heads * d) by the map whose activation has this name.
Var<OtherMaps> features(Tape<OtherMaps>&, const std::string& activation, Var<OtherMaps> x, const Weight<OtherMaps>&, Index heads);

/// The weights of a map (H, d, f).  A skip connection, x + xW, adds the identity to W.
template <class B>
Parameter<B> map_of(const Fixture& f, const std::string& name) {
  const Shape shape = f.shape(name);
  std::vector<double> values = f.numbers(name);
  if (f.flag("skip")) {
    require<FormatError>(shape[1] == shape[2], "{}: '{}' has shape {}, expected as many features as the head has columns", f.name(),
                         name, to_string(shape));
    for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(shape[1] * shape[2])) {
      for (Index j = 0; j < shape[1]; ++j) values[i + static_cast<std::size_t>(j * shape[2] + j)] += 1;
    }
  }
  return Parameter<B>(testing::array<B>(shape, values));
}

/// An adapter on q, k, v, o whose numbers come from the file.
struct FileLora {
  static constexpr Targets targets = qkvo;
  inline static Index rank = 1;
  inline static double alpha = 1;
  static constexpr double dropout = 0;
  static std::string name() { return "file"; }
};
static_assert(AdapterPolicy<FileLora>);

}  // namespace golden
