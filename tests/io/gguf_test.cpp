#include <lolcats/io/gguf.hpp>

#include "gguf_support.hpp"
#include "support.hpp"

using namespace lolcats;
using namespace io_test;

namespace {

Gguf gguf_of(const std::string& bytes) { return Gguf(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.gguf"); }

void refuses_gguf(const std::string& bytes, std::initializer_list<std::string_view> parts) {
  check_throws<FormatError>(
      [&] {
        try {
          gguf_of(bytes);
        } catch (const Error& error) {
          CHECK(std::string(error.what()).starts_with("m.gguf: "));
          throw;
        }
      },
      parts);
}

}  // namespace

TEST_CASE("metadata of every type is read, in both versions") {
  for (const std::uint32_t version : {2u, 3u}) {
    CAPTURE(version);
    const std::string bytes = GgufFile(version)
                                  .set("u8", std::uint8_t{200})
                                  .set("i8", std::int8_t{-100})
                                  .set("u16", std::uint16_t{60000})
                                  .set("i16", std::int16_t{-30000})
                                  .set("u32", std::uint32_t{4'000'000'000})
                                  .set("i32", std::int32_t{-2'000'000'000})
                                  .set("u64", std::uint64_t{INT64_MAX})
                                  .set("i64", std::int64_t{INT64_MIN})
                                  .set("f32", 0.1f)
                                  .set("f64", 0.1)
                                  .set("yes", true)
                                  .set("no", false)
                                  .set("text", std::string("a\0b", 3))
                                  .set("empty", "")
                                  .set("texts", std::vector<std::string>{"x", "", "yz"})
                                  .set("integers", std::vector<std::int16_t>{-1, 2})
                                  .set("numbers", std::vector<float>{0.5f, -2})
                                  .set("none", std::vector<double>{})
                                  .bytes();
    const Gguf file = gguf_of(bytes);
    CHECK(file.version() == version);
    CHECK(file.keys().size() == 18);
    CHECK(file.integer("u8") == 200);
    CHECK(file.integer("i8") == -100);
    CHECK(file.integer("u16") == 60000);
    CHECK(file.integer("i16") == -30000);
    CHECK(file.integer("u32") == 4'000'000'000);
    CHECK(file.integer("i32") == -2'000'000'000);
    CHECK(file.integer("u64") == INT64_MAX);
    CHECK(file.integer("i64") == INT64_MIN);
    CHECK(file.number("f32") == static_cast<double>(0.1f));
    CHECK(file.number("f64") == 0.1);
    CHECK(file.number("u16") == 60000);
    CHECK(file.number("u64") == static_cast<double>(INT64_MAX));
    CHECK(file.boolean("yes"));
    CHECK_FALSE(file.boolean("no"));
    CHECK(file.text("text") == std::string("a\0b", 3));
    CHECK(file.text("empty").empty());
    CHECK(file.texts("texts") == std::vector<std::string>{"x", "", "yz"});
    CHECK(file.integers("integers") == std::vector<Index>{-1, 2});
    CHECK(file.numbers("integers") == std::vector<double>{-1, 2});
    CHECK(file.numbers("numbers") == std::vector<double>{0.5, -2});
    CHECK(file.numbers("none").empty());
    CHECK(file.is_array("none"));
    CHECK_FALSE(file.is_array("f64"));
    CHECK(file.has("yes"));
    CHECK_FALSE(file.has("maybe"));
    CHECK(file.integer("maybe", 7) == 7);
    CHECK(file.number("maybe", 0.5) == 0.5);
    CHECK(file.boolean("maybe", true));
    CHECK(file.text("maybe", "so") == "so");
    CHECK(file.tensors().empty());
    CHECK(file.shown_value("texts") == "an array of 3 string");
    CHECK(file.shown_value("i8") == "i8 -100");
    CHECK(file.shown_value("text").starts_with("string 'a"));
    CHECK(file.shown_value("yes") == "bool true");
  }
}

TEST_CASE("a missing key and a value of another type name file, key, got and expected") {
  const std::string bytes = GgufFile()
                                .set("word", "abc")
                                .set("one", 1u)
                                .set("half", 0.5f)
                                .set("list", std::vector<float>{1})
                                .set("big", std::uint64_t{1} << 63)
                                .set("yes", true)
                                .bytes();
  const Gguf file = gguf_of(bytes);
  check_throws<FormatError>([&] { file.integer("none"); }, {"m.gguf: key 'none' is missing, expected an integer"});
  check_throws<FormatError>([&] { file.integer("word"); }, {"key 'word' is string 'abc', expected an integer"});
  check_throws<FormatError>([&] { file.integer("half"); }, {"key 'half' is f32 0.5, expected an integer"});
  check_throws<FormatError>([&] { file.integer("yes"); }, {"key 'yes' is bool true, expected an integer"});
  check_throws<FormatError>([&] { file.integer("big"); }, {"key 'big' holds 9223372036854775808, expected at most"});
  check_throws<FormatError>([&] { file.number("list"); }, {"key 'list' is an array of 1 f32, expected a number"});
  check_throws<FormatError>([&] { file.numbers("half"); }, {"key 'half' is f32 0.5, expected an array of numbers"});
  check_throws<FormatError>([&] { file.integers("list"); }, {"an array of 1 f32, expected an array of integers"});
  check_throws<FormatError>([&] { file.texts("list"); }, {"an array of 1 f32, expected an array of strings"});
  check_throws<FormatError>([&] { file.texts("word"); }, {"string 'abc', expected an array of strings"});
  check_throws<FormatError>([&] { file.text("one"); }, {"key 'one' is u32 1, expected a string"});
  check_throws<FormatError>([&] { file.boolean("one"); }, {"key 'one' is u32 1, expected a bool"});
  check_throws<FormatError>([&] { file.info("a"); }, {"m.gguf: tensor 'a' is missing"});
}

TEST_CASE("tensors lie where the table says, at the file's alignment") {
  for (const std::uint32_t alignment : {8u, 32u, 256u}) {
    CAPTURE(alignment);
    const TemporaryFolder folder;
    put(folder / "m.gguf", GgufFile()
                               .align(alignment)
                               .tensor("b", {2, 3}, {1, 2, 3, 4, 5, 6})
                               .tensor("a", {3}, ggml_f16, raw<std::uint16_t>({0x3c00, 0x4000, 0x4200}))
                               .tensor("c", {1, 32}, ggml_q8_0, raw<std::uint16_t>({0x3c00}) + std::string(32, '\3'))
                               .tensor("d", {2, 0}, {})
                               .tensor("e", {}, {7})
                               .tensor("f", {2, 1, 1, 2}, ggml_bf16, raw<std::uint16_t>({0x3f80, 0x4000, 0, 0x8000}))
                               .tensor("g", {1}, ggml_f64, raw<double>({0.1}))
                               .tensor("i", {2}, ggml_i32, raw<std::int32_t>({-1, 2}))
                               .bytes());
    std::optional<Gguf> file(std::in_place, folder / "m.gguf");
    CHECK(file->info("b").shape == std::vector<Index>{2, 3});
    CHECK(file->info("f").shape == std::vector<Index>{2, 1, 1, 2});
    const Tensor<float> b = file->read<float>("b", {2, 3});
    CHECK(static_cast<const void*>(b.data()) == file->info("b").bytes.data());  // borrowed
    CHECK(file->read<float>("a").data()[2] == 3);
    CHECK(file->read<double>("c", {1, 32}).data()[31] == 3);
    CHECK(file->read<float>("d").shape() == Shape{2, 0});
    CHECK(file->read<float>("e").data()[0] == 7);
    CHECK(file->read<float>("f").data()[1] == 2);
    CHECK(file->read<double>("g").data()[0] == 0.1);
    CHECK(file->read<std::int64_t>("i").data()[0] == -1);
    check_throws<ShapeError>([&] { file->read<float>("b", {3, 2}); }, {"'b' has shape (2, 3), expected (3, 2)"});
    file.reset();
    CHECK(b.data()[5] == 6);
  }
}

TEST_CASE("the data begin at the first aligned byte behind a header of any length") {
  for (std::size_t length = 0; length < 40; ++length) {
    CAPTURE(length);
    const std::string bytes = GgufFile().set("k", std::string(length, 'x')).tensor("a", {2}, {3, 4}).bytes();
    const Gguf file = gguf_of(bytes);
    CHECK(file.read<double>("a").data()[0] == 3);
  }
}

TEST_CASE("types that are not decoded are an error for who reads them") {
  const std::string bytes = GgufFile()
                                .tensor("known", {1, 256}, 10, std::string(84, 'x'))
                                .tensor("unknown", {1, 256}, 77, std::string(84, 'x'))
                                .tensor("fine", {1}, {5})
                                .bytes();
  const Gguf file = gguf_of(bytes);
  CHECK(file.read<float>("fine").data()[0] == 5);
  check_throws<FormatError>([&] { file.read<float>("known"); },
                            {"m.gguf: tensor 'known' is Q2_K, expected F64, F32, F16, BF16, Q4_0, Q4_1", "Q6_K"});
  check_throws<FormatError>([&] { file.read<bf16>("unknown"); }, {"tensor 'unknown' is type 77, expected F64"});
  check_throws<FormatError>([&] { file.read<std::int64_t>("known"); }, {"'known' is Q2_K, expected I64 or I32"});
}

TEST_CASE("every truncation is an error") {
  const std::string whole = GgufFile()
                                .set("k", std::vector<std::string>{"a", "bc"})
                                .set("u", 7u)
                                .tensor("a", {2, 2}, {1, 2, 3, 4})
                                .tensor("b", {3}, {1, 2, 3})
                                .bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    refuses_gguf(whole.substr(0, size), {});
  }
  CHECK_NOTHROW(gguf_of(whole));
  CHECK_NOTHROW(gguf_of(whole + "padding"));
}

TEST_CASE("hostile headers") {
  refuses_gguf("", {"does not begin with 'GGUF'"});
  refuses_gguf("GGML1234", {"does not begin with 'GGUF'"});
  refuses_gguf(GgufFile(1).bytes(), {"is GGUF of version 1, expected version 2 or 3"});
  refuses_gguf(GgufFile(4).bytes(), {"is GGUF of version 4, expected version 2 or 3"});
  refuses_gguf(GgufFile(3u << 24).bytes(),
               {"is GGUF of big-endian version 3, expected version 2 or 3 and little-endian"});

  const auto counts = [](std::uint64_t tensors, std::uint64_t keys) {
    return "GGUF" + bytes_of(std::uint32_t{3}) + bytes_of(tensors) + bytes_of(keys);
  };
  refuses_gguf(counts(0, UINT64_MAX),
               {"key 1 of 18446744073709551615 takes 8 bytes at offset 24, but only 0 are left"});
  refuses_gguf(counts(UINT64_MAX, 0), {"the name of tensor 1 of 18446744073709551615 takes 8 bytes"});
  refuses_gguf(counts(0, 1) + bytes_of(UINT64_MAX), {"key 1 of 1 takes 18446744073709551615 bytes"});
  refuses_gguf(GgufFile().raw("", bytes_of(4u) + bytes_of(1u)).bytes(),
               {"key 1 of 1 has 0 bytes, expected 1 to 65535"});
  refuses_gguf(GgufFile().set(std::string(65536, 'k'), 1u).bytes(), {"has 65536 bytes, expected 1 to 65535"});

  const auto value = [](const std::string& bytes) { return GgufFile().raw("k", bytes).bytes(); };
  const auto array = [&](std::uint32_t type, std::uint64_t count, const std::string& bytes = "") {
    return value(bytes_of(std::uint32_t{gguf_array}) + bytes_of(type) + bytes_of(count) + bytes);
  };
  refuses_gguf(value(bytes_of(13u) + std::string(64, '\0')), {"key 'k' has the value type 13, expected 0 to 12"});
  refuses_gguf(value(bytes_of(UINT32_MAX)), {"key 'k' has the value type 4294967295"});
  refuses_gguf(value(bytes_of(std::uint32_t{gguf_bool}) + "\2"), {"key 'k' holds the bool 2, expected 0 or 1"});
  refuses_gguf(array(gguf_bool, 3, std::string("\1\0\3", 3)), {"key 'k' holds the bool 3, expected 0 or 1"});
  refuses_gguf(value(bytes_of(std::uint32_t{gguf_string}) + bytes_of(UINT64_MAX)),
               {"key 'k' takes 18446744073709551615"});
  refuses_gguf(array(gguf_array, 1), {"key 'k' is an array of arrays"});
  refuses_gguf(array(99, 1), {"key 'k' has the value type 99"});
  refuses_gguf(array(gguf_u64, UINT64_MAX), {"has 18446744073709551615 elements, which is too many to count"});
  refuses_gguf(array(gguf_u64, std::uint64_t{1} << 61), {"too many to count"});
  refuses_gguf(array(gguf_u8, UINT64_MAX), {"key 'k' takes 18446744073709551615 bytes"});
  refuses_gguf(array(gguf_string, UINT64_MAX), {"key 'k' takes"});
  refuses_gguf(array(gguf_string, 2, gguf_bytes("a") + bytes_of(UINT64_MAX)),
               {"key 'k' takes 18446744073709551615 bytes"});
  refuses_gguf(GgufFile().set("k", 1u).set("k", 2u).bytes(), {"key 'k' appears twice"});
  refuses_gguf(GgufFile().set("general.alignment", 0u).bytes(), {"'general.alignment' is 0, expected a power of two"});
  refuses_gguf(GgufFile().set("general.alignment", 24u).bytes(),
               {"'general.alignment' is 24, expected a power of two"});
  refuses_gguf(GgufFile().set("general.alignment", -8).bytes(), {"'general.alignment' is -8"});
  refuses_gguf(GgufFile().set("general.alignment", std::uint64_t{1} << 62).bytes(),
               {"expected a power of two up to 2^30"});
  refuses_gguf(GgufFile().set("general.alignment", "8").bytes(), {"'general.alignment' is string '8'"});
}

TEST_CASE("hostile tensors") {
  const std::string data(64, 'x');
  const auto one = [&](const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset) {
    std::string file = GgufFile().tensor_at("a", shape, type, offset).bytes();
    return file + data;
  };
  CHECK_NOTHROW(gguf_of(one({16}, ggml_f32, 0)));
  CHECK_NOTHROW(gguf_of(one({8}, ggml_f32, 32)));
  refuses_gguf(one({1, 1, 1, 1, 1}, ggml_f32, 0), {"tensor 'a' has 5 dimensions, expected at most 4"});
  refuses_gguf(one({std::uint64_t{1} << 63}, ggml_f32, 0), {"tensor 'a' has the dimension 9223372036854775808"});
  refuses_gguf(one({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, ggml_f32, 0), {"is too large to count"});
  refuses_gguf(one({std::uint64_t{1} << 62}, ggml_f32, 0), {"is too large to count"});
  refuses_gguf(one({17}, ggml_f32, 0), {"tensor 'a' at [0, 0 + 68] runs past the 64 bytes of data"});
  refuses_gguf(one({9}, ggml_f32, 32), {"tensor 'a' at [32, 32 + 36] runs past the 64 bytes of data"});
  refuses_gguf(one({1}, ggml_f32, 96), {"runs past the 64 bytes"});
  refuses_gguf(one({1}, ggml_f32, UINT64_MAX - 31), {"runs past the 64 bytes"});
  refuses_gguf(one({1}, 77, 96), {"runs past the 64 bytes"});
  refuses_gguf(one({1}, ggml_f32, 4), {"tensor 'a' has the offset 4, expected a multiple of the alignment 32"});
  refuses_gguf(one({1, 16}, ggml_q8_0, 0), {"of shape (1, 16) has rows of 16, expected multiples of 32 for Q8_0"});
  refuses_gguf(one({32, 1}, ggml_q8_0, 0), {"of shape (32, 1) has rows of 1, expected multiples of 32"});
  refuses_gguf(one({}, ggml_q8_0, 0), {"has rows of 1, expected multiples of 32"});
  refuses_gguf(GgufFile().tensor("a", {1}, {1}).tensor("a", {1}, {1}).bytes(), {"tensor 'a' appears twice"});
  refuses_gguf(GgufFile().tensor("", {1}, {1}).bytes(), {"the name of tensor 1 of 1 has 0 bytes, expected 1 to 64"});
  refuses_gguf(GgufFile().tensor(std::string(65, 'x'), {1}, {1}).bytes(), {"has 65 bytes, expected 1 to 64"});

  const auto two = [&](std::uint64_t at, std::uint64_t size, std::uint64_t other_at) {
    return GgufFile().tensor_at("b", {8}, ggml_f32, other_at).tensor_at("a", {size}, ggml_f32, at).bytes() + data;
  };
  CHECK_NOTHROW(gguf_of(two(0, 8, 32)));
  CHECK_NOTHROW(gguf_of(two(32, 8, 0)));
  refuses_gguf(two(0, 9, 32), {"tensor 'a' at [0, 36] overlaps tensor 'b' at 32"});
  refuses_gguf(two(0, 8, 0), {"overlaps tensor"});
}

TEST_CASE("a pointer of Git LFS is named") {
  const TemporaryFolder folder;
  put(folder / "m.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 98362432\n");
  check_throws<FormatError>([&] { Gguf(folder / "m.gguf"); },
                            {(folder / "m.gguf").string(), "is a Git LFS pointer of 77 bytes"});
}

TEST_CASE("memory is kept alive by its owner") {
  const auto bytes = std::make_shared<const std::string>(GgufFile().tensor("a", {2}, {1, 2}).bytes());
  std::optional<Gguf> file(std::in_place, std::as_bytes(std::span(bytes->data(), bytes->size())), "memory", bytes);
  const Tensor<float> a = file->read<float>("a");
  CHECK(bytes.use_count() > 1);
  file.reset();
  CHECK(a.data()[1] == 2);
}
