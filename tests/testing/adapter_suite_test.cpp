// check_adapter finds planted errors of an adapter.  (What these cases print is expected.)
#include <lolcats/model/llama.hpp>
#include <lolcats/testing/adapter_suite.hpp>

#include <doctest/doctest.h>

using namespace lolcats;
using namespace lolcats::testing;

namespace {

enum class Plant { nothing, alpha_changes, drops_everything, negative_dropout, no_name };
Plant plant = Plant::nothing;

/// Numbers that are asked for at run time, so that one type can have every error.
struct Alpha {
  operator double() const {
    static int asked = 0;
    return plant == Plant::alpha_changes ? 3 + 1e-6 * ++asked : 3;
  }
};
struct Dropout {
  operator double() const { return plant == Plant::drops_everything ? 1 : plant == Plant::negative_dropout ? -0.1 : 0; }
};
struct Planted {
  static constexpr Targets targets{Projections::q, Projections::up};
  static constexpr Index rank = 2;
  static constexpr Alpha alpha{};
  static constexpr Dropout dropout{};
  static std::string name() { return plant == Plant::no_name ? "" : "planted"; }
};
static_assert(AdapterPolicy<Planted>);

void planting(Plant chosen) {
  plant = chosen;
  struct Restore {
    ~Restore() { plant = Plant::nothing; }
  } restore;
  check_adapter<Planted>();
}

}  // namespace

TEST_CASE("an adapter without an error passes") { planting(Plant::nothing); }
TEST_CASE("an alpha that is not the same twice is found" * doctest::should_fail()) { planting(Plant::alpha_changes); }
TEST_CASE("a dropout of everything is found" * doctest::should_fail()) { planting(Plant::drops_everything); }
TEST_CASE("a negative dropout is found" * doctest::should_fail()) { planting(Plant::negative_dropout); }
TEST_CASE("an adapter without a name is found" * doctest::should_fail()) { planting(Plant::no_name); }
