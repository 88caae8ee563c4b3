// One attention problem as raw numbers, through the library on any backend.
#pragma once

#include <lolcats/ops/attention/correcting.hpp>
#include <lolcats/testing/feature_map_suite_reference.hpp>
#include <lolcats/testing/random.hpp>

#include <map>
#include <string>
#include <vector>

namespace lolcats::testing {

/// Arrays by the name of the argument: y, q, k, v, query_map, query_bias, key_map, key_bias, window_factors,
/// query_features, key_features, gate_bias, gate, score, cache_sizes.  As results, `y` is the output and the others are gradients.
using AttentionNumbers = std::map<std::string, std::vector<double>>;

/// Which gradients a run asks for.
struct AttentionWanted {
  bool inputs = true;  // q, k, v and given features
  bool maps = true;    // maps and their biases
  bool factors = true;
};

/// A call of attention `A`: sizes, window, and `in` with every argument and the gradient `dy` of the output.
template <AttentionPolicy A>
struct AttentionCase {
  using Map = typename A::Map;
  using Gate = typename MemoryOf<A>::Gate;
  static constexpr bool given = std::is_same_v<Map, GivenFeatures>;

  Heads heads;
  Index projected = 0;  // f
  typename A::Window window;
  Sequences sequences;
  AttentionNumbers in;

  /// Heads of the key maps.
  Index key_maps() const { return A::key_maps_per_group ? heads.keys : heads.queries; }
  /// F
  Index features() const {
    if constexpr (FeatureMap<Map>) return feature_count<Map>(projected);
    return given ? projected : 0;
  }
  Index bias() const {
    if constexpr (FeatureMap<Map>) return bias_width<Map>(projected);
    return 0;
  }

  /// Every argument's shape.
  std::map<std::string, Shape> shapes() const {
    const Index rows = sequences.rows();
    std::map<std::string, Shape> all{{"q", {rows, heads.queries * heads.size}},
                                     {"k", {rows, heads.keys * heads.size}},
                                     {"v", {rows, heads.keys * heads.size}}};
    if constexpr (has_mixing<A>) all["window_factors"] = Shape{1, heads.queries, 1, 1};
    if constexpr (gated<MemoryOf<A>>) all["gate_bias"] = Shape{1, key_maps(), 1, 1};
    if constexpr (Gate::input != GateInput::none) all["gate"] = Shape{rows, key_maps()};
    if constexpr (scored_when_read<MemoryOf<A>>) all["score"] = Shape{rows, heads.keys};
    if constexpr (caches<MemoryOf<A>>) all["cache_sizes"] = Shape{1, heads.keys, 1, 1};
    if constexpr (given) {
      all["query_features"] = Shape{rows, heads.queries * projected};
      all["key_features"] = Shape{rows, key_maps() * projected};
    }
    if constexpr (FeatureMap<Map>) {
      all["query_map"] = Shape{heads.queries, heads.size, projected};
      if (bias() > 0) all["query_bias"] = Shape{heads.queries, bias()};
      if (!A::shared_maps) {
        all["key_map"] = Shape{key_maps(), heads.size, projected};
        if (bias() > 0) all["key_bias"] = Shape{key_maps(), bias()};
      }
    }
    return all;
  }
};

/// A width of the features for tests: what the map says, or 4.
template <AttentionPolicy A>
Index attention_test_width(Index size) {
  if constexpr (FeatureMap<typename A::Map>) {
    return A::Map::skip && A::Map::projected == dynamic ? size : test_width<typename A::Map>();
  }
  return 4;
}

/// Normal numbers, rounded to float32 so that all backends hold the same.  Given features are positive.
template <AttentionPolicy A>
AttentionCase<A> random_attention_case(typename A::Window window, const Heads& heads, Sequences sequences,
                                       std::uint64_t seed) {
  AttentionCase<A> c{heads, attention_test_width<A>(heads.size), window, std::move(sequences), {}};
  Rng rng(seed, 41);
  const auto draw = [&](Index count, double scale, double mean) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(static_cast<float>(mean + scale * rng.normal()));
    return values;
  };
  for (const auto& [name, shape] : c.shapes()) {
    const bool map = name.ends_with("_map"), features = name.ends_with("_features");
    c.in[name] = draw(shape.size(), map ? 1.5 / std::sqrt(static_cast<double>(heads.size)) : 1.0,
                      name == "window_factors" ? -1.0 : 0.0);
    if (features) {
      for (double& x : c.in[name]) x = static_cast<float>(std::exp(x));
    }
    // Gates that forget a few keys in ten tokens, whatever function of the number they are.
    if (name == "gate_bias") {
      using Gate = typename AttentionCase<A>::Gate;
      for (double& x : c.in[name]) x = static_cast<float>(Gate::start(0, 1) < 0 ? -0.05 - 0.02 * std::abs(x) : 0.5 * x);
    }
  }
  if constexpr (caches<MemoryOf<A>>) {  // every other head keeps half
    std::vector<double>& sizes = c.in["cache_sizes"];
    for (std::size_t g = 0; g < sizes.size(); ++g) sizes[g] = static_cast<double>(MemoryOf<A>::Cache::size / (g % 2 == 0 ? 1 : 2));
  }
  c.in["dy"] = draw(c.shapes().at("q").size(), 1.0, 0.0);
  return c;
}

/// The arguments of a case on a backend; values and gradients live as long as this.
template <Backend B, AttentionPolicy A>
class AttentionArguments {
 public:
  AttentionArguments(const AttentionCase<A>& c, const AttentionWanted& wanted, const B& backend = {})
      : backend_(backend), wanted_(wanted) {
    for (const auto& [name, shape] : c.shapes()) {
      values_[name] = array<B>(shape, c.in.at(name), backend);
      // Gradients of weights are added to what is there already.
      if (is_weight(name) && (name == "window_factors" ? wanted.factors : wanted.maps)) {
        gradients_[name] =
            array<B, Real<B>>(shape, std::vector<double>(static_cast<std::size_t>(shape.size()), 1.0), backend);
      }
    }
  }

  Var<B> var(Tape<B>& tape, const std::string& name) {
    if (!values_.contains(name)) return {};
    const View<const Scalar<B>> view = values_.at(name).view();
    return vars_[name] = wanted_.inputs && name != "score" ? tape.variable(view) : tape.constant(view);
  }
  Weight<B> weight(const std::string& name) {
    if (!values_.contains(name)) return {};
    Weight<B> w{values_.at(name).view(), {}};
    if (gradients_.contains(name)) w.gradient = gradients_.at(name).view();
    return w;
  }
  AttentionWeights<B> weights(Tape<B>& tape) {
    AttentionWeights<B> w{weight("query_map"), weight("query_bias"), weight("key_map"), weight("key_bias"),
                          weight("window_factors")};
    if constexpr (A::shared_maps) {
      w.key_map = w.query_map;
      w.key_bias = w.query_bias;
    }
    w.query_features = var(tape, "query_features");
    w.key_features = var(tape, "key_features");
    w.gate_bias = weight("gate_bias");
    w.gate = var(tape, "gate");
    w.score = var(tape, "score");
    w.cache_sizes = weight("cache_sizes");
    return w;
  }

  /// What has arrived.
  void collect(AttentionNumbers& numbers) const {
    for (const auto& [name, x] : vars_) {
      if (x.has_gradient()) numbers[name] = host(backend_, x.gradient());
    }
    for (const auto& [name, gradient] : gradients_) {
      numbers[name] = host(backend_, gradient.view());
      for (double& x : numbers[name]) x -= 1.0;
    }
  }

 private:
  static bool is_weight(const std::string& name) {
    return name.ends_with("_map") || name.ends_with("_bias") || name == "window_factors";  // gate_bias, too
  }

  B backend_;
  AttentionWanted wanted_;
  std::map<std::string, Array<B>> values_;
  std::map<std::string, Array<B, Real<B>>> gradients_;
  std::map<std::string, Var<B>> vars_;
};

/// The library: one pass over all sequences, and the wanted gradients of sum(y * dy).  Memory is full of NaN before.
template <Backend B, AttentionPolicy A>
AttentionNumbers run_attention(const AttentionCase<A>& c, const AttentionWanted& wanted = {}, const B& backend = {}) {
  AttentionArguments<B, A> arguments(c, wanted, backend);
  Tape<B> tape(backend);
  poison(tape);
  const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
  const Var<B> y = attention<A>(tape, q, k, v, c.sequences, c.heads, arguments.weights(tape), c.window);
  AttentionNumbers numbers{{"y", host(backend, y.value())}};
  if (y.wants_gradient()) {
    backend.from_host(c.in.at("dy").data(), y.sink().gradient.data, y.value().size());
    tape.replay(0);
  }
  arguments.collect(numbers);
  return numbers;
}

/// The library through the decoding state: each sequence in pieces, piece i of all sequences that have one in one call.
/// `cut(length)` gives the lengths of the pieces.  Half way, copies of the slots go on, after the originals have.  Returns y;
/// `state` is what is left.
template <Backend B, AttentionPolicy A, class Cut>
std::vector<double> run_attention_steps(const AttentionCase<A>& c, Cut&& cut, AttentionState<B>& state,
                                        const B& backend = {}) {
  std::vector<double> y(c.in.at("q").size(), 0.0);
  const Index count = c.sequences.count();
  std::vector<std::vector<Index>> pieces;
  for (const Extent& e : c.sequences.extents()) pieces.push_back(cut(e.length));
  state.slots.clear();
  std::vector<Index> read(static_cast<std::size_t>(count));
  for (std::size_t step = 0;; ++step) {
    std::vector<Extent> extents;
    std::vector<Index> from;    // rows of the case, in order
    std::vector<Index> chosen;  // sequences
    for (Index n = 0; n < count; ++n) {
      const auto at = static_cast<std::size_t>(n);
      if (step >= pieces[at].size()) continue;
      chosen.push_back(n);
      extents.push_back({static_cast<Index>(from.size()), pieces[at][step], read[at]});
      for (Index i = 0; i < pieces[at][step]; ++i) from.push_back(c.sequences[n].row + read[at] + i);
      read[at] += pieces[at][step];
    }
    if (extents.empty()) return y;
    const Sequences sequences(static_cast<Index>(from.size()), extents);

    AttentionCase<A> piece = c;
    piece.sequences = sequences;
    for (const char* name : {"q", "k", "v", "query_features", "key_features", "gate", "score"}) {
      if (!c.in.contains(name)) continue;
      const auto& whole = c.in.at(name);
      const std::size_t width = whole.size() / static_cast<std::size_t>(c.sequences.rows());
      piece.in[name].clear();
      for (const Index row : from) {
        const auto first = whole.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row) * width);
        piece.in[name].insert(piece.in[name].end(), first, first + static_cast<std::ptrdiff_t>(width));
      }
    }
    AttentionArguments<B, A> arguments(piece, {false, false, false}, backend);
    Tape<B> tape(backend);
    poison(tape, Index{1} << 14);
    const Var<B> q = arguments.var(tape, "q"), k = arguments.var(tape, "k"), v = arguments.var(tape, "v");
    const auto read_on = [&] {
      return attention_step<A>(tape, q, k, v, sequences, c.heads, state, arguments.weights(tape), c.window, chosen);
    };
    if (step > 0 && step == pieces.front().size() / 2) {
      std::vector<typename AttentionState<B>::Slot> copies;
      for (const auto& slot : state.slots) copies.push_back(slot.clone(backend));
      read_on();
      state.slots = std::move(copies);
    }
    const Var<B> out = read_on();
    const std::vector<double> values = host(backend, out.value());
    const std::size_t width = values.size() / from.size();
    for (std::size_t i = 0; i < from.size(); ++i) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                  y.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(from[i]) * width));
    }
  }
}

}  // namespace lolcats::testing
