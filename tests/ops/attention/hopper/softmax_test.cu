// Softmax attention on Hopper against plain double loops: ragged sequences, windows, grouped heads, NaN all around.
#include "softmax_reference.cuh"

#include <lolcats/core/rng.hpp>
#include <lolcats/ops/attention/hopper/softmax_backward.cuh>

#include <doctest/doctest.h>

#include <cstdio>
#include <limits>
#include <string>

using namespace lolcats;
using softmax_reference::Inputs;
using softmax_reference::Outputs;
using B = Cuda<bf16>;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// False, with a line on stderr, where these kernels cannot run.
bool hopper_here() {
  std::string reason;
  if (cuda::available(&reason) && cuda::device().capability == 90) return true;
  std::fprintf(stderr, "skipped: no Hopper GPU (%s)\n", reason.c_str());
  return false;
}

double rounded(double x) { return bf16(static_cast<float>(x)); }

/// Device memory with a guard of NaN behind it; `intact` looks whether anybody wrote there.
template <class T>
struct Guarded {
  static constexpr Index guard = 4096;
  Array<B, T> memory;
  Index size;

  explicit Guarded(Index n, double fill = nan) : memory(Shape{n + guard}), size(n) {
    std::vector<double> values(static_cast<std::size_t>(n + guard), nan);
    std::fill_n(values.begin(), n, fill);
    B{}.from_host(values.data(), memory.data(), n + guard);
  }
  explicit Guarded(const std::vector<double>& values) : Guarded(static_cast<Index>(values.size())) {
    B{}.from_host(values.data(), memory.data(), size);
  }
  View<T> view(const Shape& shape) { return {memory.data(), shape}; }
  std::vector<double> host() const {
    std::vector<double> values(static_cast<std::size_t>(size));
    B{}.to_host(memory.data(), values.data(), size);
    return values;
  }
  bool intact() const {
    std::vector<double> values(static_cast<std::size_t>(guard));
    B{}.to_host(memory.data() + size, values.data(), guard);
    return std::all_of(values.begin(), values.end(), [](double x) { return x != x; });
  }
};

struct Case {
  Heads heads;
  std::vector<Extent> extents;
  Index rows;
  Index window = unlimited;
  Index sinks = 0;
};

Case plain(Heads heads, Index length, Index window = unlimited) { return {heads, {{0, length, 0}}, length, window}; }

std::string text(const Case& c) {
  std::string lengths;
  for (const Extent& e : c.extents) lengths += fmt::format(" {}+{}", e.row, e.length);
  return fmt::format("H {} G {} D {} rows {} extents{} window {} sinks {}", c.heads.queries, c.heads.keys, c.heads.size,
                     c.rows, lengths, c.window, c.sinks);
}

/// Random inputs, rounded to bf16, with NaN in the rows that belong to nobody.
Inputs random_inputs(const Case& c, Rng& rng) {
  Inputs in{c.heads, c.extents, c.rows, c.window, {}, {}, {}, {}, c.sinks};
  std::vector<bool> used(static_cast<std::size_t>(c.rows), false);
  for (const Extent& e : c.extents) std::fill_n(used.begin() + e.row, e.length, true);
  const auto fill = [&](std::vector<double>& x, Index heads, double scale) {
    for (Index n = 0; n < c.rows; ++n) {
      for (Index i = 0; i < heads * c.heads.size; ++i)
        x.push_back(used[static_cast<std::size_t>(n)] ? rounded(scale * rng.normal()) : nan);
    }
  };
  fill(in.q, c.heads.queries, 2);
  fill(in.k, c.heads.keys, 1);
  fill(in.v, c.heads.keys, 1);
  fill(in.dy, c.heads.queries, 1);
  return in;
}

/// ||got - want|| / ||want||, entries of `want` counting as 1e-3 on average at least; infinite if anything is NaN.
double distance(const std::vector<double>& got, const std::vector<double>& want) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return difference == difference ? std::sqrt(difference / std::max(norm, 1e-6 * static_cast<double>(want.size())))
                                  : std::numeric_limits<double>::infinity();
}

double largest_error(const std::vector<double>& got, const std::vector<double>& want, double& at_most) {
  double worst = 0;
  at_most = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    at_most = std::max(at_most, std::abs(want[i]));
    const double error = std::abs(got[i] - want[i]);
    worst = error == error ? std::max(worst, error) : std::numeric_limits<double>::infinity();
  }
  return worst;
}

/// Statistics of rows in extents only: others are unset.
std::vector<double> rows_in_extents(const std::vector<double>& x, const Case& c) {
  std::vector<double> kept;
  for (const Extent& e : c.extents) {
    for (Index i = e.row * c.heads.queries; i < (e.row + e.length) * c.heads.queries; ++i)
      kept.push_back(x[static_cast<std::size_t>(i)]);
  }
  return kept;
}

/// A problem in device memory.
template <class W>
struct OnDevice {
  Inputs in;
  Sequences sequences;
  W window;
  Guarded<bf16> q, k, v, dy;
  Guarded<bf16> y, dq, dk, dv;
  Guarded<float> largest, inverse;
  Tape<B> tape;

  OnDevice(const Case& c, const Inputs& inputs, W w)
      : in(inputs),
        sequences(c.rows, c.extents),
        window(w),
        q(in.q),
        k(in.k),
        v(in.v),
        dy(in.dy),
        y(static_cast<Index>(in.q.size())),
        dq(y.size),
        dk(k.size),
        dv(k.size),
        largest(c.rows * c.heads.queries),
        inverse(c.rows * c.heads.queries) {}

  Shape query_shape() const { return {in.rows, in.heads.queries * in.heads.size}; }
  Shape key_shape() const { return {in.rows, in.heads.keys * in.heads.size}; }
  AttentionProblem<B, W> problem() {
    return {in.heads, &sequences, window, false, q.view(query_shape()), k.view(key_shape()), v.view(key_shape()), {}};
  }
  AttentionStatistics<B> statistics() {
    const Shape shape{in.rows, in.heads.queries};
    return {largest.view(shape), inverse.view(shape), {}};
  }
  void forward() { hopper::softmax_forward(B{}, problem(), y.view(query_shape()), statistics()); }
  AttentionSinks<B> sinks(bool add = false) {
    return {{dq.view(query_shape()), add}, {dk.view(key_shape()), add}, {dv.view(key_shape()), add}, {}, {}};
  }
  void backward(const AttentionSinks<B>& to) {
    // What the tape hands out holds NaN.
    poison_scratch();
    hopper::softmax_backward(tape, problem(), y.view(query_shape()), dy.view(query_shape()), statistics(), to);
  }

 private:
  void poison_scratch() {
    const Tape<B>::Scope scope(tape);
    const Index rows = in.rows + 128 * static_cast<Index>(in.extents.size()),
                bytes = rows * in.heads.queries * (4 * in.heads.size + 64);
    const View<float> memory = tape.template scratch<float>(Shape{bytes / 4});
    cuda::check(cudaMemsetAsync(memory.data, 0xff, static_cast<std::size_t>(bytes), B{}.stream()), "poison");
  }
};

const std::vector<Case> cases = [] {
  std::vector<Case> list;
  for (const Index size : {Index{64}, Index{128}}) {
    for (const Index length : {1, 3, 63, 64, 65, 127, 128, 129, 200, 257, 1000})
      list.push_back(plain({2, 1, size}, length));
    for (const Index window : {1, 8, 63, 64, 65, 128, 129, 200}) list.push_back(plain({2, 2, size}, 700, window));
    list.push_back(plain({2, 2, size}, 1500, 1000));
    list.push_back(plain({3, 1, size}, 300));
    list.push_back(plain({8, 1, size}, 130));
    list.push_back({{4, 1, size}, {{0, 1, 0}, {1, 64, 0}, {65, 3, 0}, {68, 129, 0}, {197, 190, 0}}, 387});
    list.push_back({{4, 2, size}, {{5, 100, 0}, {105, 28, 0}, {150, 200, 0}, {353, 127, 0}}, 500});
    list.push_back({{4, 2, size}, {{5, 300, 0}, {350, 100, 0}, {450, 129, 0}}, 600, 65});
  }
  std::vector<Extent> many;
  for (Index n = 0; n < 300; ++n) many.push_back({n * 20 + n % 3, 1 + n % 17, 0});
  list.push_back({{2, 1, 64}, many, 6000});
  return list;
}();

template <class W>
void check_forward(const Case& c, W window, Rng& rng) {
  INFO(text(c));
  const Inputs in = random_inputs(c, rng);
  const Outputs want = softmax_reference::run(in, false);
  OnDevice<W> device(c, in, window);
  REQUIRE(hopper::softmax_takes(device.problem()));
  device.forward();
  const std::vector<double> y = device.y.host();
  double scale = 0;
  const double error = largest_error(y, want.y, scale);
  CHECK(error <= 1e-2 * scale);
  CHECK(distance(y, want.y) <= 5e-3);
  CHECK(distance(rows_in_extents(device.largest.host(), c), rows_in_extents(want.largest, c)) <= 1e-5);
  CHECK(distance(rows_in_extents(device.inverse.host(), c), rows_in_extents(want.inverse_denominator, c)) <= 1e-5);
  CHECK((device.y.intact() && device.largest.intact() && device.inverse.intact()));
}

template <class W>
void check_backward(const Case& c, W window, Rng& rng) {
  INFO(text(c));
  const Inputs in = random_inputs(c, rng);
  const Outputs want = softmax_reference::run(in, true);
  OnDevice<W> device(c, in, window);
  device.forward();
  device.backward(device.sinks());
  CHECK(distance(device.dq.host(), want.dq) <= 8e-3);
  CHECK(distance(device.dk.host(), want.dk) <= 8e-3);
  CHECK(distance(device.dv.host(), want.dv) <= 8e-3);
  CHECK((device.dq.intact() && device.dk.intact() && device.dv.intact()));
}

}  // namespace

TEST_CASE("softmax on Hopper: forward is the double loop, at every length, window and grouping") {
  if (!hopper_here()) return;
  Rng rng(11);
  for (const Case& c : cases) {
    check_forward(c, Sliding<>(c.window), rng);
    if (c.window == unlimited) check_forward(c, Everything{}, rng);
  }
}

TEST_CASE("softmax on Hopper: forward without statistics, and launched again, gives the same bits") {
  if (!hopper_here()) return;
  Rng rng(12);
  const Case c{{8, 2, 128}, {{0, 1100, 0}, {1200, 515, 0}}, 1800};
  OnDevice<Everything> device(c, random_inputs(c, rng), {});
  device.forward();
  const std::vector<double> once = device.y.host();
  for (int i = 0; i < 30; ++i) hopper::softmax_forward(B{}, device.problem(), device.y.view(device.query_shape()), {});
  CHECK(device.y.host() == once);
}

TEST_CASE("softmax on Hopper: backward is the double loop, at every length, window and grouping") {
  if (!hopper_here()) return;
  Rng rng(13);
  for (const Case& c : cases) {
    if (c.window == unlimited) {
      check_backward(c, Everything{}, rng);
    } else {
      check_backward(c, Sliding<>(c.window), rng);
    }
  }
}

// Fetched in place of keys that nobody reads (124, 60, 252), or as a tile of their own (128, 200 with 37 sinks).
TEST_CASE("softmax on Hopper: sinks") {
  if (!hopper_here()) return;
  Rng rng(16);
  const auto check = [&]<Index Count>(Case c, Index width) {
    c.window = width;
    c.sinks = Count;
    check_forward(c, Sinks<Count, Sliding<>>(width), rng);
    check_backward(c, Sinks<Count, Sliding<>>(width), rng);
  };
  for (const Index size : {Index{64}, Index{128}}) {
    for (const Index width : {1, 60, 124, 128, 252}) check.template operator()<4>(plain({4, 2, size}, 700), width);
    check.template operator()<4>({{4, 1, size}, {{5, 300, 0}, {350, 3, 0}, {353, 129, 0}, {482, 500, 0}}, 1000}, 124);
    check.template operator()<37>({{2, 1, size}, {{0, 30, 0}, {40, 600, 0}}, 640}, 200);
  }
}

TEST_CASE("softmax on Hopper: gradients of sinks are added where the sink says so, and are the same bits every time") {
  if (!hopper_here()) return;
  Rng rng(17);
  using W = Sinks<4, Sliding<>>;
  const Case c{{4, 2, 128}, {{0, 500, 0}, {510, 290, 0}}, 800, 124, 4};
  OnDevice<W> device(c, random_inputs(c, rng), W(124));
  device.forward();
  device.backward(device.sinks());
  const std::vector<double> dq = device.dq.host(), dk = device.dk.host(), dv = device.dv.host();
  device.backward(device.sinks());
  CHECK((device.dq.host() == dq && device.dk.host() == dk && device.dv.host() == dv));
  AttentionSinks<B> values;
  values.v = device.sinks(true).v;
  device.backward(values);
  CHECK((device.dq.host() == dq && device.dk.host() == dk));
  std::vector<double> doubled = dv;
  for (double& x : doubled) x *= 2;
  CHECK(distance(device.dv.host(), doubled) <= 3e-3);
}

TEST_CASE("softmax on Hopper: gradients are added where the sink says so, and only those that are wanted are written") {
  if (!hopper_here()) return;
  Rng rng(14);
  for (const Index size : {Index{64}, Index{128}}) {
    const Case c{{4, 2, size}, {{0, 200, 0}, {210, 90, 0}}, 310};
    const Inputs in = random_inputs(c, rng);
    OnDevice<Everything> device(c, in, {});
    device.forward();
    device.backward(device.sinks());
    const std::vector<double> dq = device.dq.host(), dk = device.dk.host(), dv = device.dv.host();
    const auto without = [&](int kept) {
      OnDevice<Everything> other(c, in, {});
      other.forward();
      AttentionSinks<B> sinks;
      if (kept == 0) sinks.q = other.sinks().q;
      if (kept == 1) sinks.k = other.sinks().k;
      if (kept == 2) sinks.v = other.sinks().v;
      other.backward(sinks);
      const auto untouched = [](const Guarded<bf16>& x) {
        const std::vector<double> values = x.host();
        return std::all_of(values.begin(), values.end(), [](double v) { return v != v; });
      };
      CHECK((kept == 0 ? other.dq.host() == dq : untouched(other.dq)));
      CHECK((kept == 1 ? other.dk.host() == dk : untouched(other.dk)));
      CHECK((kept == 2 ? other.dv.host() == dv : untouched(other.dv)));
    };
    for (int kept = 0; kept < 3; ++kept) without(kept);

    device.backward(device.sinks(true));  // once more on top
    const auto doubled = [](std::vector<double> x) {
      for (double& v : x) v *= 2;
      return x;
    };
    CHECK(distance(device.dq.host(), doubled(dq)) <= 3e-3);
    CHECK(distance(device.dk.host(), doubled(dk)) <= 3e-3);
    CHECK(distance(device.dv.host(), doubled(dv)) <= 3e-3);
  }
}

TEST_CASE("softmax on Hopper: the backward pass gives the same bits every time") {
  if (!hopper_here()) return;
  Rng rng(15);
  const Case c{{8, 2, 128}, {{0, 1100, 0}, {1200, 515, 0}, {1715, 85, 0}}, 1800};
  OnDevice<Everything> device(c, random_inputs(c, rng), {});
  device.forward();
  device.backward(device.sinks());
  const std::vector<double> dq = device.dq.host(), dk = device.dk.host(), dv = device.dv.host();
  bool same = true;
  for (int i = 0; i < 20; ++i) {
    device.backward(device.sinks());
    if (i % 5 == 4) same = same && device.dq.host() == dq && device.dk.host() == dk && device.dv.host() == dv;
  }
  CHECK(same);
}
