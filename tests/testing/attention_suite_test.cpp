// check_attention finds planted errors of a kernel, each by the part that looks for it.  (What these cases print is expected.)
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/testing/attention_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

enum class Plant {
  nothing,
  value,            // 1e-10 too large
  key_gradient,     // of one key
  map_gradient,     // set instead of added to
  forgets_values,   // v gets no gradient from near keys
  reads_padding,    // times zero
  needs_its_maps,   // q gets another gradient where no map is trained
  step,             // the token that is read last
  step_in_pieces,   // a piece longer than one token
  step_of_some,     // a call that not all sequences are part of
  head_zero,        // one head is scaled
};
Plant plant = Plant::nothing;

/// A window of its own, so that a kernel of its own can be wrong.
struct Planted : Sliding<4> {
  static std::string name() { return "planted"; }
};

template <class T>
AttentionProblem<Cpu<T>, Sliding<4>> right(const AttentionProblem<Cpu<T>, Planted>& p) {
  return {p.heads, p.sequences, Sliding<4>(), p.affine, p.q, p.k, p.v, p.weights};
}

}  // namespace

template <class T, class Map>
struct lolcats::AttentionKernel<Cpu<T>, Map, Planted, Sum> {
  using B = Cpu<T>;
  using Problem = AttentionProblem<B, Planted>;
  using Right = AttentionKernel<B, Map, Sliding<4>, Sum>;

  static void forward(const B& backend, const Problem& p, View<T> y, const AttentionStatistics<B>& statistics) {
    Right::forward(backend, right(p), y, statistics);
    if (plant == Plant::value) {
      for (T& x : y.span()) x *= T(1) + T(1e-10);
    }
    for (Index row = 0; plant == Plant::head_zero && row < y.rows(); ++row) y.data[row * y.cols()] *= T(1.001);
    const Index row = (*p.sequences)[0].row;
    if (plant == Plant::reads_padding) y.data[row * y.cols()] += 0 * p.q.data[0];
  }
  static void backward(Tape<B>& tape, const Problem& p, View<const T> y, View<const T> dy,
                       const AttentionStatistics<B>& statistics, const AttentionSinks<B>& sinks) {
    AttentionSinks<B> to = sinks;
    if (plant == Plant::forgets_values) to.v = {};
    Right::backward(tape, right(p), y, dy, statistics, to);
    if (plant == Plant::forgets_values && sinks.v.gradient) tape.backend().zero(sinks.v.gradient.data, sinks.v.gradient.size());
    if (plant == Plant::key_gradient && sinks.k.gradient) sinks.k.gradient.data[(*p.sequences)[0].row * p.k.cols()] *= T(1.001);
    if (plant == Plant::map_gradient && p.weights.query_map.trained()) {
      for (T& x : p.weights.query_map.gradient.span()) x -= T(1);  // what was there before
    }
    if (plant == Plant::needs_its_maps && sinks.q.gradient && !p.weights.query_map.trained()) {
      tape.backend().zero(sinks.q.gradient.data, sinks.q.gradient.size());
    }
  }
};

template <class T, class Map>
struct lolcats::AttentionStateKernel<Cpu<T>, Map, Planted, Sum> {
  using B = Cpu<T>;
  static void step(const B& backend, const AttentionProblem<B, Planted>& p, std::span<typename AttentionState<B>::Slot* const> slots,
                   View<T> y) {
    AttentionStateKernel<B, Map, Sliding<4>, Sum>::step(backend, right(p), slots, y);
    if (plant == Plant::step) y.data[y.size() - 1] *= T(1) + T(1e-8);
    if (plant == Plant::step_in_pieces && p.sequences->longest() > 1) y.data[y.size() - 1] *= T(1) + T(1e-8);
    if (plant == Plant::step_of_some && p.sequences->count() == 1) y.data[y.size() - 1] *= T(1) + T(1e-8);
  }
};

namespace {

using A = Hybrid<Hedgehog<2>, Planted>;
using B = Cpu<double>;
const AttentionSuite suite{.lengths = {1, 11}, .sizes = {3}};

void against_reference() { check_attention_against_reference<A, B>({}, suite, suite.tolerance, suite.gradient_tolerance); }
void gradients() { check_attention_gradients<A>({}, suite); }
void steps() { check_attention_steps<A>({}, suite); }
void endless_window() { check_attention_endless_window<A>({}, suite); }
void symmetries() { check_attention_symmetries<A>({}, suite); }
void wanted() { check_attention_wanted<A>({}, suite); }

void planting(Plant chosen, void (*check)()) {
  plant = chosen;
  struct Restore {
    ~Restore() { plant = Plant::nothing; }
  } restore;
  check();
}

}  // namespace

TEST_CASE("a kernel without an error passes every part of the suite") {
  for (const auto check : {against_reference, gradients, steps, endless_window, symmetries, wanted}) planting(Plant::nothing, check);
}

#define LOLCATS_PLANTED(what, check) \
  TEST_CASE("attention, planted: " #what ", found by " #check * doctest::should_fail()) { planting(Plant::what, check); }
LOLCATS_PLANTED(value, against_reference)
LOLCATS_PLANTED(value, endless_window)
LOLCATS_PLANTED(key_gradient, against_reference)
LOLCATS_PLANTED(key_gradient, gradients)
LOLCATS_PLANTED(map_gradient, against_reference)
LOLCATS_PLANTED(map_gradient, gradients)
LOLCATS_PLANTED(forgets_values, against_reference)
LOLCATS_PLANTED(forgets_values, gradients)
LOLCATS_PLANTED(reads_padding, against_reference)
LOLCATS_PLANTED(needs_its_maps, gradients)
LOLCATS_PLANTED(needs_its_maps, wanted)
LOLCATS_PLANTED(step, steps)
LOLCATS_PLANTED(step_in_pieces, steps)
LOLCATS_PLANTED(step_of_some, steps)
LOLCATS_PLANTED(head_zero, symmetries)
#undef LOLCATS_PLANTED
