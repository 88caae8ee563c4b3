#include <lolcats/eval/tasks/python_text.hpp>

#include <doctest/doctest.h>

using namespace lolcats;

TEST_CASE("python text: code points are counted, broken bytes one by one") {
  CHECK(python::length("") == 0);
  CHECK(python::length("abc") == 3);
  CHECK(python::length("n\u00e4\u20ac\U0001f600") == 4);
  CHECK(python::length("\xc3") == 1);
  CHECK(python::length("\xc3(\xff\x80") == 4);
  CHECK(python::length("\xe2\x82") == 2);
  for (const char32_t c : {U'a', U'\u00e4', U'\u07ff', U'\u0800', U'\uffff', U'\U00010000', U'\U0010ffff'}) {
    std::string text;
    python::append_code_point(text, c);
    CHECK(python::first_code_point(text).value == c);
    CHECK(python::first_code_point(text).bytes == text.size());
  }
}

TEST_CASE("python text: strip knows the blanks of Unicode") {
  CHECK(python::strip(" \t\r\n\v\f a b \u00a0\u2003\u3000\u2028\x1c") == "a b");
  CHECK(python::strip("\u00a0\u200b ") == "\u200b");  // a zero-width space is none
  CHECK(python::strip(" \n ").empty());
  CHECK(python::strip_end(" a\u00e4 ") == " a\u00e4");
  CHECK(python::strip_end("a\x85").size() == 2);  // a byte of its own is no blank
  CHECK(python::strip_end("a\u0085") == "a");
}

TEST_CASE("python text: capitalize and replace, against CPython 3.11") {
  CHECK(python::capitalize("") == "");
  CHECK(python::capitalize("hELLO World") == "Hello world");
  CHECK(python::capitalize("  Hello") == "  hello");
  CHECK(python::capitalize("1A") == "1a");
  CHECK(python::capitalize("\u00e9T\u00c9 \u0141\u00d3D\u0179 \u0178") == "\u00c9t\u00e9 \u0142\u00f3d\u017a \u00ff");
  CHECK(python::capitalize("\u0436\u0416\u0401 \u03a9") == "\u0416\u0436\u0451 \u03c9");
  CHECK(python::capitalize("\u00d7\u00f7\xff") == "\u00d7\u00f7\xff");
  CHECK(python::replace("aaa", "aa", "b") == "ba");
  CHECK(python::replace("a    b", "  ", " ") == "a  b");  // once, from the left
  CHECK(python::replace("x", "y", "z") == "x");
}
