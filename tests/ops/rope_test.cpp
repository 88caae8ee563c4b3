// rope: rotary position embedding, and its table.
#include "checks.hpp"

#include <lolcats/ops/elementwise/eigen.hpp>
#include <lolcats/ops/rope/eigen.hpp>
#include <lolcats/testing/gradient_check.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

TEST_CASE_TEMPLATE("rope is its reference, values and gradients", B, Cpu<float>, Cpu<double>) { check_rope<B>(); }

TEST_CASE("rope has the derivatives of what it computes") {
  using B = Cpu<double>;
  Rng rng(1);
  const RopeTable<B> table(frequencies(2), 20);
  const Sequences sequences = gapped(9);
  CHECK(check_gradients({normal<B>(Shape{9, 8}, rng)}, {},
                        [&](Tape<B>& tape, std::span<const Var<B>> x) { return rope(tape, x[0], sequences, table); }));
}

TEST_CASE_TEMPLATE("scores depend on the distance of positions only", B, Cpu<float>, Cpu<double>) {
  Rng rng(1);
  const auto q = normal<B>(Shape{1, 16}, rng), k = normal<B>(Shape{1, 16}, rng);
  const RopeTable<B> table(frequencies(8), 40);
  const auto score = [&](Index n, Index j) {
    Tape<B> tape;
    const Sequences at_n(1, {{0, 1, n}}), at_j(1, {{0, 1, j}});
    const auto a = rope(tape, tape.constant(q.view()), at_n, table).value();
    const auto b = rope(tape, tape.constant(k.view()), at_j, table).value();
    double dot = 0;
    for (std::size_t i = 0; i < 16; ++i) dot += static_cast<double>(a.span()[i]) * static_cast<double>(b.span()[i]);
    return dot;
  };
  CHECK(score(7, 3) == doctest::Approx(score(35, 31)).epsilon(1e-5));
  CHECK(std::abs(score(7, 3) - score(7, 4)) > 1e-3);
}

TEST_CASE("rows outside the extents stay as they are") {
  using B = Cpu<double>;
  Rng rng(1);
  const auto x = normal<B>(Shape{4, 6}, rng);
  Tape<B> tape;
  poison(tape);
  const Sequences none(4, {});
  CHECK(same(x, rope(tape, tape.constant(x.view()), none, RopeTable<B>(frequencies(3))).value()));
  const auto v = tape.variable(x.view());
  const auto padding = rope(tape, v, none, RopeTable<B>(frequencies(3)));
  tape.backward(sum(tape, add(tape, padding, scale(tape, v, 3.0))));
  CHECK(same(std::vector<double>(24, 4.0), v.gradient()));  // added to what the other use left
  const Sequences one(4, {{2, 1, 1}});
  const RopeTable<B> table(frequencies(3), 2);
  const auto y = rope(tape, tape.constant(x.view()), one, table).value();
  CHECK(same(x.view().row_range(0, 2), y.row_range(0, 2)));
  CHECK(same(x.view().row_range(3, 1), y.row_range(3, 1)));
  CHECK_FALSE(close(x.view().row_range(2, 1), y.row_range(2, 1), 1e-3));
}

TEST_CASE_TEMPLATE("the table grows at least twofold and keeps its angles", B, Cpu<float>, Cpu<double>) {
  RopeTable<B> table(frequencies(3), 5);
  const auto before = as_doubles(table.cos());
  CHECK(table.positions() == 5);
  table.reserve(4);
  CHECK(table.positions() == 5);
  table.reserve(6);
  CHECK(table.positions() == 10);
  table.reserve(100);
  CHECK(table.positions() == 100);
  CHECK(same(before, table.cos().row_range(0, 5)));
  // Far positions: the angle is formed in double, so that even float32 tables are right to the last bit but one.
  const double angle = 99 * frequencies(3)[1];
  CHECK(close(std::vector{std::cos(angle), std::sin(angle)},
              std::vector{table.cos().data[99 * 3 + 1], table.sin().data[99 * 3 + 1]},
              static_cast<double>(std::numeric_limits<Scalar<B>>::epsilon())));
}

TEST_CASE("rope names what does not fit") {
  using B = Cpu<float>;
  Tape<B> tape;
  const RopeTable<B> table(frequencies(2), 8);
  const auto x = tape.constant(tape.scratch<float>(Shape{9, 8}));
  const auto odd = tape.constant(tape.scratch<float>(Shape{9, 6}));
  const Sequences nine = Sequences::rectangular(1, 9), eight = Sequences::rectangular(1, 8);
  CHECK_THROWS_WITH_AS(rope(tape, x, nine, table),
                       "rope: position 8 in the extent at row 0, expected less than 8, the size of the table (reserve)",
                       DataError);
  CHECK_THROWS_WITH_AS(rope(tape, x, eight, table), "rope: x has 9 rows, expected the 8 of the sequences", ShapeError);
  CHECK_THROWS_WITH_AS(rope(tape, odd, nine, table), "rope: x has 6 columns, expected a multiple of the head size 4",
                       ShapeError);
  CHECK_THROWS_AS(RopeTable<B>(std::vector<double>{}), ConfigError);
  CHECK_THROWS_AS(RopeTable<B>(std::vector<double>{std::nan("")}), ConfigError);
}
