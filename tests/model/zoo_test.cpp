#include <lolcats/model/zoo.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace lolcats;

namespace {
struct Mine : Method<Softmax<>, NoAdapter> {
  static constexpr std::string_view name = "mine";
};
}  // namespace

TEST_CASE("the promised students are there") {
  const auto names = student_names();
  for (const char* name :
       {"hedgehog8-linear", "hedgehog8-sliding16", "hedgehog8-terraced64", "t2r16-linear", "t2r16-terraced64",
        "hedgehog64-linear", "hedgehog64-terraced64", "hedgehog64-sliding64", "t2r128-linear", "t2r128-terraced64",
        "softmax", "window-terraced64", "window-sliding128"}) {
    CHECK_MESSAGE(std::find(names.begin(), names.end(), name) != names.end(), name);
  }
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
}

TEST_CASE("a name leads to its type, and a method, too") {
  for (const std::string& name : student_names()) {
    int visits = 0;
    visit_student(name, [&](auto method) {
      ++visits;
      CHECK(method.name == name);
      CHECK(decltype(method)::Adapter::name() == "lora<8, qkvo>");
      visit_method(decltype(method)::Attention::name(), [&](auto again) { CHECK(again.name == name); });
    });
    CHECK(visits == 1);
  }
  visit_student("t2r16-terraced64", [](auto method) {
    CHECK(decltype(method)::Attention::name() == "hybrid<t2r<16>, terraced<64>>");
  });
  visit_student("hedgehog64-linear", [](auto method) {
    CHECK(decltype(method)::Attention::name() == "linear<hedgehog<64>>");
  });
}

TEST_CASE("an unknown name is answered with the known ones") {
  const auto nothing = [](auto) {};
  CHECK_THROWS_WITH_AS(visit_student("hedgehog", nothing),
                       doctest::Contains("student 'hedgehog' is unknown, expected one of hedgehog8-linear, "),
                       ConfigError);
  CHECK_THROWS_WITH_AS(visit_method("magic", nothing), doctest::Contains("method 'magic' is unknown"), ConfigError);
  CHECK_THROWS_WITH_AS(visit_student("x", nothing, MethodList<Mine>{}), "student 'x' is unknown, expected one of mine",
                       ConfigError);
}
