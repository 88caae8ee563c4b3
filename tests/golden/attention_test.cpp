// Golden fixtures of attention.
#include "handlers.hpp"

#include <doctest/doctest.h>

#include <cmath>

namespace golden {

namespace {

/// Inputs (B, H, N, d) and (B, G, N, d) of a file as activations.
template <class B>
struct Inputs {
  Heads heads;
  Sequences sequences;
  Array<B> q_values, k_values, v_values;
  Tape<B> tape;
  Var<B> q, k, v;

  explicit Inputs(const Fixture& f) {
    const Shape shape = f.shape("in.q"), kv = f.shape("in.k");
    heads = {shape[1], kv[1], shape[3]};
    sequences = Sequences::rectangular(shape[0], shape[2]);
    q_values = testing::array<B>(Shape{sequences.rows(), heads.queries * heads.size}, f.rows("in.q"));
    k_values = testing::array<B>(Shape{sequences.rows(), heads.keys * heads.size}, f.rows("in.k"));
    v_values = testing::array<B>(Shape{sequences.rows(), heads.keys * heads.size}, f.rows("in.v"));
    q = tape.variable(View<const Scalar<B>>(q_values.view()));
    k = tape.variable(View<const Scalar<B>>(k_values.view()));
    v = tape.variable(View<const Scalar<B>>(v_values.view()));
  }
};

/// Numbers [first, last) of every sequence.
std::vector<double> part_of(const std::vector<double>& x, Index sequences, Index first, Index last) {
  const Index each = static_cast<Index>(x.size()) / sequences;
  std::vector<double> part;
  for (Index n = 0; n < sequences; ++n)
    part.insert(part.end(), x.begin() + n * each + first, x.begin() + n * each + last);
  return part;
}

/// The decoding state after `tokens` tokens of every sequence, read in two pieces.
template <class A, class B>
AttentionState<B> state_after(const Fixture& f, Index tokens, const Heads& heads, const AttentionWeights<B>& w,
                              const typename A::Window& window) {
  const Index count = f.shape("in.q")[0];
  AttentionState<B> state;
  for (const auto& [first, last] : {std::pair<Index, Index>{0, tokens / 2}, {tokens / 2, tokens}}) {
    if (first == last) continue;
    std::vector<Extent> extents;
    for (Index n = 0; n < count; ++n) extents.push_back({n * (last - first), last - first, first});
    const Sequences sequences(count * (last - first), extents);
    const auto take = [&, first = first, last = last](const char* name, Index width) {
      return testing::array<B>(Shape{sequences.rows(), width},
                               part_of(f.rows(name), count, first * width, last * width));
    };
    const auto q = take("in.q", heads.queries * heads.size), k = take("in.k", heads.keys * heads.size),
               v = take("in.v", heads.keys * heads.size);
    Tape<B> tape;
    const auto constant = [&](const Array<B>& x) { return tape.constant(x.view()); };
    step<A, B>(tape, constant(q), constant(k), constant(v), sequences, heads, state, w, window);
  }
  return state;
}

/// S (B, H, F, d) and z (B, H, F) of a state.
template <class B>
std::pair<std::vector<double>, std::vector<double>> sums_of(const AttentionState<B>& state) {
  std::pair<std::vector<double>, std::vector<double>> result;
  for (const auto& slot : state.slots) {
    for (const double x : numbers_of<B>(slot.sums)) result.first.push_back(x);
    for (const double x : numbers_of<B>(slot.normalizer)) result.second.push_back(x);
  }
  return result;
}

/// Where the i-th kept key of a head begins, (G, capacity, D); on a GPU they lie in a ring, (capacity, G * D).
template <class B>
Index kept_at(const typename AttentionState<B>::Slot& slot, const Heads& heads, Index g, Index i) {
  constexpr bool on_gpu = requires(B backend) { backend.stream(); };
  const Index row = on_gpu ? (slot.first + i) % slot.keys.shape()[0] * heads.keys + g
                           : g * slot.keys.shape()[1] + slot.begin + i;
  return row * heads.size;
}

template <class A, class B>
void check_hybrid(Fixture& f, const FileWindow& window) {
  Inputs<B> in(f);
  auto query_map = trained<B>(f, "param.feature_map_q"), key_map = trained<B>(f, "param.feature_map_k");
  auto factors = trained<B>(f, "param.window_factors");
  const AttentionWeights<B> w{query_map, {}, key_map, {}, factors};
  const auto y = attend<A, B>(in.tape, in.q, in.k, in.v, in.sequences, in.heads, w, window);
  check_rows<B>(f, "out.y", y.value());
  check<B>(f, "out.a", weights<A, B>(in.q.value(), in.k.value(), in.sequences, in.heads, w, window));
  pull<B>(in.tape, y, f.rows("dout.y"));
  check_rows<B>(f, "grad.q", in.q.gradient());
  check_rows<B>(f, "grad.k", in.k.gradient());
  check_rows<B>(f, "grad.v", in.v.gradient());
  check<B>(f, "grad.feature_map_q", query_map.gradient());
  check<B>(f, "grad.feature_map_k", key_map.gradient());
  check<B>(f, "grad.window_factors", factors.gradient());

  // The file's state is the one that the last token reads from.  Ours has folded by then what the token after it no
  // longer sees; so it is taken before the last token, whose key and value the file has appended.
  const Index tokens = f.shape("in.q")[2], last = tokens - 1;
  if (tokens < 2) {
    for (const char* name : {"out.state_s", "out.state_z", "out.state_k", "out.state_v"}) f.mark(name);
    return;
  }
  auto state = state_after<A, B>(f, last, in.heads, w, window);
  const auto [sums, normalizer] = sums_of<B>(state);
  check<B>(f, "out.state_s", sums);
  check<B>(f, "out.state_z", normalizer);
  const auto kept = [&](const char* name, const char* input, auto&& buffer) {  // (B, H, kept, d)
    const Index H = in.heads.queries, G = in.heads.keys, D = in.heads.size;
    const auto all = f.rows(input);
    std::vector<double> values;
    for (std::size_t n = 0; n < state.slots.size(); ++n) {
      const auto& slot = state.slots[n];
      const auto rows = numbers_of<B>(buffer(slot));
      for (Index h = 0; h < H; ++h) {
        const Index g = h / in.heads.group();
        for (Index i = 0; i < slot.length - slot.first; ++i) {
          const auto from = rows.begin() + kept_at<B>(slot, in.heads, g, i);
          values.insert(values.end(), from, from + D);
        }
        const auto from = all.begin() + ((static_cast<Index>(n) * tokens + last) * G + g) * D;
        values.insert(values.end(), from, from + D);
      }
    }
    check<B>(f, name, values);
  };
  kept("out.state_k", "in.k", [](const auto& slot) { return slot.keys; });
  kept("out.state_v", "in.v", [](const auto& slot) { return slot.values; });
}

}  // namespace

void hybrid(Fixture& f) {
  require<Error>(f.text("act") == "softmax_dim", "{}: activation '{}' is not compiled here", f.name(), f.text("act"));
  const FileWindow window = FileWindow::of(f, f.text("kind"));
  const Index tokens = f.shape("in.q")[2];
  std::vector<Index> near, far;
  for (Index n = 0; n < tokens; ++n) {
    for (Index j = 0; j < tokens; ++j) {
      near.push_back(window.begin(n) <= j && j <= n);
      far.push_back(j < window.begin(n));
    }
  }
  f.check_integers("out.mask_softmax", near);
  f.check_integers("out.mask_linear", far);
  on_every_backend([&]<class B>(B) {
    if (f.flag("affine")) {
      check_hybrid<FileAffine, B>(f, window);
    } else {
      check_hybrid<FileHybrid, B>(f, window);
    }
  });
}

void softmax_attention(Fixture& f) {
  const Sliding<> window(static_cast<Index>(f.number("window", static_cast<double>(unlimited))));
  on_every_backend([&]<class B>(B) {
    Inputs<B> in(f);
    const auto y = attend<FileSoftmax, B>(in.tape, in.q, in.k, in.v, in.sequences, in.heads, {}, window);
    check_rows<B>(f, "out.y", y.value());
    const auto a = weights<FileSoftmax, B>(in.q.value(), in.k.value(), in.sequences, in.heads, {}, window);
    check<B>(f, "out.a", a);
    std::vector<double> entropy, length;  // (B, H, N)
    const auto tokens = static_cast<std::size_t>(in.sequences.longest());
    for (std::size_t row = 0; row < a.size() / tokens; ++row) {
      double h = 0, lookback = 0;
      for (std::size_t j = 0; j < tokens; ++j) {
        const double p = a[row * tokens + j];
        if (p > 0) h -= p * std::log(p);
        lookback += p * (static_cast<double>(row % tokens) - static_cast<double>(j));
      }
      entropy.push_back(h);
      length.push_back(lookback);
    }
    check<B>(f, "out.entropy", entropy);
    check<B>(f, "out.effective_sequence_length", length);
    pull<B>(in.tape, y, f.rows("dout.y"));
    check_rows<B>(f, "grad.q", in.q.gradient());
    check_rows<B>(f, "grad.k", in.k.gradient());
    check_rows<B>(f, "grad.v", in.v.gradient());
  });
}

void linear_attention_core(Fixture& f) {
  const Shape shape = f.shape("in.v"), features = f.shape("in.fq");  // (B, H, N, d), (B, H, N, F)
  const Heads heads{shape[1], shape[1], shape[3]};
  const Sequences sequences = Sequences::rectangular(shape[0], shape[2]);
  on_every_backend([&]<class B>(B) {
    const Index rows = sequences.rows();
    const auto fq = testing::array<B>(Shape{rows, heads.queries * features[3]}, f.rows("in.fq"));
    const auto fk = testing::array<B>(Shape{rows, heads.queries * features[3]}, f.rows("in.fk"));
    const auto v_values = testing::array<B>(Shape{rows, heads.queries * heads.size}, f.rows("in.v"));
    Tape<B> tape;
    AttentionWeights<B> w;
    w.query_features = tape.variable(View<const Scalar<B>>(fq.view()));
    w.key_features = tape.variable(View<const Scalar<B>>(fk.view()));
    const auto v = tape.variable(View<const Scalar<B>>(v_values.view()));
    const auto unread = tape.constant(View<const Scalar<B>>(v_values.view()));  // in the place of q and k
    const auto y = attend<GivenLinear, B>(tape, unread, unread, v, sequences, heads, w, {});
    check_rows<B>(f, "out.y", y.value());
    check<B>(f, "out.a", weights<GivenLinear, B>(unread.value(), unread.value(), sequences, heads, w, {}));
    pull<B>(tape, y, f.rows("dout.y"));
    check_rows<B>(f, "grad.fq", w.query_features.gradient());
    check_rows<B>(f, "grad.fk", w.key_features.gradient());
    check_rows<B>(f, "grad.v", v.gradient());
    AttentionState<B> state;
    step<GivenLinear, B>(tape, unread, unread, v, sequences, heads, state, w, {});
    const auto [sums, normalizer] = sums_of<B>(state);
    check<B>(f, "out.s", sums);
    check<B>(f, "out.z", normalizer);
  });
}

}  // namespace golden
