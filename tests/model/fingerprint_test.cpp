#include <lolcats/backend/cpu.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/model/fingerprint.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

using namespace lolcats;

namespace {

/// Two weights, the first longer than several blocks; numbers that bf16 holds.
template <class T>
struct Weights {
  Parameter<Cpu<T>> a, b;
  explicit Weights(Index rows = 3) : a(Array<Cpu<T>>(Shape{rows, 300'001})), b(Array<Cpu<T>>(Shape{5})) {
    Rng rng(7);
    for (auto* p : {&a, &b}) {
      for (Index i = 0; i < p->size(); ++i) p->mutable_value().data[i] = static_cast<T>(rng.below(200)) / 64;
    }
  }
  Parameters<Cpu<T>> parameters(const char* name = "b") { return {{"a", &a}, {name, &b}}; }
  std::string exact() { return fingerprint_of(Cpu<T>{}, parameters()); }
  std::string rounded() { return rounded_fingerprint_of(Cpu<T>{}, read_only(parameters())); }
};

}  // namespace

TEST_CASE("every number, its place, every name and every shape shows in the fingerprint") {
  Weights<float> w;
  const std::string before = w.exact(), rounded = w.rounded();
  CHECK(before.size() == 16);
  std::set<std::string> seen{before}, seen_rounded{rounded};
  std::size_t changes = 1;
  const auto look = [&] {
    seen.insert(w.exact());
    seen_rounded.insert(w.rounded());
    CHECK(seen.size() == ++changes);
    CHECK(seen_rounded.size() == changes);
  };
  for (const Index at : {Index{0}, Index{1}, Index{5}, (Index{1} << 18) - 1, Index{1} << 18, w.a.size() - 2, w.a.size() - 1}) {
    CAPTURE(at);
    float& x = w.a.mutable_value().data[at];
    const float keep = x;
    x += 16;
    look();
    x = keep;
    CHECK(w.exact() == before);
  }
  std::swap(w.a.mutable_value().data[0], w.b.mutable_value().data[0]);
  if (w.a.value().data[0] != w.b.value().data[0]) look();
  std::swap(w.a.mutable_value().data[0], w.b.mutable_value().data[0]);
  CHECK(fingerprint_of(Cpu<float>{}, w.parameters("c")) != before);
  CHECK(fingerprint_of(Cpu<float>{}, Parameters<Cpu<float>>{{"b", &w.b}, {"a", &w.a}}) != before);
  Parameter<Cpu<float>> column(Array<Cpu<float>>(Shape{5, 1}));
  std::copy_n(w.b.value().data, 5, column.mutable_value().data);
  CHECK(fingerprint_of(Cpu<float>{}, Parameters<Cpu<float>>{{"a", &w.a}, {"b", &column}}) != before);
}

TEST_CASE("rounded to bf16, a fingerprint is the same in every precision; exact, it sees the last bit") {
  Weights<float> narrow;
  Weights<double> wide;
  CHECK(narrow.rounded() == wide.rounded());
  CHECK(narrow.exact() != wide.exact());
  const std::string exact = narrow.exact(), rounded = narrow.rounded();
  float& x = narrow.a.mutable_value().data[99];
  x = std::nextafter(x, 100.0F);
  CHECK(narrow.exact() != exact);
  CHECK(narrow.rounded() == rounded);
}
