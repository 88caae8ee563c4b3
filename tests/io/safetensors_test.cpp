#include <lolcats/io/safetensors.hpp>

#include "support.hpp"

using namespace lolcats;
using namespace io_test;

namespace {

/// The reader must refuse this header over `size` bytes of data, with these words.
void refuses_header(const std::string& header, std::size_t size, std::initializer_list<std::string_view> parts) {
  CAPTURE(header);
  const std::string bytes = safetensors_bytes(header, std::string(size, '\0'));
  check_throws<FormatError>(
      [&] {
        try {
          Safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.safetensors");
        } catch (const Error& error) {
          CHECK(std::string(error.what()).starts_with("m.safetensors: "));
          throw;
        }
      },
      parts);
}

}  // namespace

TEST_CASE("a file written by hand is read") {
  const TemporaryFolder folder;
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},"__metadata__":{"format":"pt","x":""},)"
      R"("a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},)"
      R"("n":{"dtype":"I64","shape":[0,3],"data_offsets":[2,2]}}  )";
  put(folder / "m.safetensors", safetensors_bytes(header, raw<std::uint16_t>({0x3f80}) + raw<float>({2, 3})));
  std::optional<Safetensors> file(std::in_place, folder / "m.safetensors");
  CHECK(file->names() == std::vector<std::string>{"a", "b", "n"});
  CHECK(file->metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"x", ""}});
  CHECK(file->contains("a"));
  CHECK_FALSE(file->contains("c"));
  CHECK(file->info("b").dtype == DType::F32);
  CHECK(file->info("b").shape == std::vector<Index>{2, 1});
  CHECK(file->read<float>("a").data()[0] == 1);
  const Tensor<float> b = file->read<float>("b", {2, 1});
  CHECK(file->read<std::int64_t>("n").shape() == Shape{0, 3});
  file.reset();  // the tensor keeps what it needs
  CHECK(b.data()[1] == 3);
}

TEST_CASE("a file without tensors is a file") {
  for (const char* header : {"{}", " \n{}  ", R"({"__metadata__":null})", R"({"__metadata__":{}})"}) {
    CAPTURE(header);
    const std::string bytes = safetensors_bytes(header, "");
    CHECK(Safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())), "m").names().empty());
  }
}

TEST_CASE("tensors of every type of the format may lie in a file") {
  const std::pair<const char*, int> sizes[] = {{"BOOL", 1}, {"I8", 1},      {"I16", 2},     {"U16", 2},     {"U32", 4},
                                               {"U64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"C64", 8}};
  for (const auto& [type, size] : sizes) {
    CAPTURE(std::string(type));
    const std::string header = fmt::format(
        R"({{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},"b":{{"dtype":"{}","shape":[3],"data_offsets":[4,{}]}}}})",
        type, 4 + 3 * size);
    const std::string bytes = safetensors_bytes(header, raw<float>({5}) + std::string(3 * size, '\1'));
    const Safetensors file(std::as_bytes(std::span(bytes.data(), bytes.size())), "m");
    CHECK(file.read<float>("a").data()[0] == 5);
    check_throws<FormatError>([&] { file.read<float>("b"); },
                              {fmt::format("m: tensor 'b' is {}, expected F64, F32, F16 or BF16", type)});
    check_throws<FormatError>([&] { file.read<std::int64_t>("b"); }, {"expected I64 or I32"});
    check_throws<FormatError>([&] { file.read<std::uint8_t>("b"); }, {"expected U8"});
  }
}

TEST_CASE("missing tensors and other shapes name file and tensor") {
  const std::string bytes = safetensors_bytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234");
  const Safetensors file(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.safetensors");
  check_throws<FormatError>([&] { file.read<float>("b"); }, {"m.safetensors: tensor 'b' is missing"});
  check_throws<ShapeError>(
      [&] {
        file.read<float>("a", {1, 1});
      },
      {"m.safetensors: tensor 'a' has shape (1), expected (1, 1)"});
  check_throws<FormatError>([&] { file.read<std::int64_t>("a"); }, {"m.safetensors: tensor 'a' is F32, expected I64"});
}

TEST_CASE("truncated and oversized files") {
  const TemporaryFolder folder;
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string whole = safetensors_bytes(header, "12345678");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    put(folder / "m.safetensors", whole.substr(0, size));
    check_throws<FormatError>([&] { Safetensors(folder / "m.safetensors"); }, {(folder / "m.safetensors").string()});
  }
  put(folder / "m.safetensors", whole + "9");
  check_throws<FormatError>([&] { Safetensors(folder / "m.safetensors"); },
                            {"m.safetensors: bytes [8, 9] at the end belong to no tensor"});
  put(folder / "m.safetensors", whole);
  CHECK_NOTHROW(Safetensors(folder / "m.safetensors"));
}

TEST_CASE("hostile header lengths") {
  const auto refuses_length = [](std::uint64_t length, std::initializer_list<std::string_view> parts) {
    const std::string bytes = raw<std::uint64_t>({length}) + "{}";
    check_throws<FormatError>([&] { Safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())), "m"); }, parts);
  };
  refuses_length(~std::uint64_t{0}, {"m: header length is 18446744073709551615, expected at most 100000000"});
  refuses_length(100'000'001, {"header length is 100000001, expected at most 100000000"});
  refuses_length(100'000'000, {"header length is 100000000, but only 2 bytes follow"});
  refuses_length(3, {"header length is 3, but only 2 bytes follow"});
  refuses_length(0, {"is not valid JSON"});
  refuses_length(1, {"is not valid JSON"});
}

TEST_CASE("hostile headers") {
  refuses_header("[]", 0, {"the header is [], expected an object"});
  refuses_header("null", 0, {"the header is null, expected an object"});
  refuses_header(std::string("{}\0", 3), 0, {"is not valid JSON"});
  refuses_header(R"({"a":1})", 0, {"tensor 'a' is 1, expected an object"});
  refuses_header(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, {"tensor 'a': dtype is missing"});
  refuses_header(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, {"tensor 'a': shape is missing"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1]}})", 4, {"tensor 'a': data_offsets is missing"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}})", 4, {"has the unknown field 'x'"});
  refuses_header(
      R"({"a":{"dtype":"F7","shape":[4],"data_offsets":[0,4]}})", 4,
      {"tensor 'a': dtype is \"F7\", expected one of F64, F32, F16, BF16, I64, I32, U8, BOOL, I8", "F8_E4M3", "C64"});
  refuses_header(R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", 4, {"dtype is 32, expected"});
  refuses_header(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4,
                 {"shape is 1, expected a list of integers"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
                 {"shape holds -1, expected an integer"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4,
                 {"shape holds 1.0, expected an integer"});
  refuses_header(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, {"shape holds \"1\""});
  refuses_header(R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4,
          {"shape holds 9223372036854775808"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                 {"too large to count"});
  refuses_header(R"({"a":{"dtype":"U8","shape":[9223372036854775807,2,0],"data_offsets":[0,0]}})", 0,
                 {"too large to count"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4,
                 {"data_offsets [0] are 1 numbers, expected 2"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8, {"are 3 numbers, expected 2"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})", 8,
          {"tensor 'a': data_offsets [8, 4] runs backwards"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})", 8, {"data_offsets holds -4"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
                 {"[0, 8] runs past the 4 bytes of data"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[9223372036854775807,9223372036854775807]}})", 4,
          {"runs past the 4 bytes of data"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8,
          {"tensor 'a': data_offsets [0, 8] spans 8 bytes, expected 4 for F32 of shape [1]"});
  refuses_header(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, {"key 'a' appears twice"});
  refuses_header(R"({"__metadata__":[]})", 0, {"__metadata__ is [], expected an object"});
  refuses_header(R"({"__metadata__":{"a":1}})", 0, {"__metadata__ 'a' is 1, expected a string"});
  refuses_header(R"({"__metadata__":{"a":"1","a":"2"}})", 0, {"key 'a' appears twice"});
  refuses_header("{\"" + std::string(5'000'000, 'x') + "\":1}", 0, {"xxx...' is 1"});  // the message stays short
  refuses_header("{\"a\":" + std::string(1'000'000, '['), 0, {"nested deeper"});
}

TEST_CASE("overlaps and holes") {
  const auto two = [](int a, int b, int c, int d) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                       R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                       b - a, a, b, d - c, c, d);
  };
  refuses_header(two(0, 4, 3, 8), 8, {"tensor 'b' at [3, 8] overlaps tensor 'a' at [0, 4]"});
  refuses_header(two(0, 8, 0, 8), 8, {"tensor 'b' at [0, 8] overlaps tensor 'a' at [0, 8]"});
  refuses_header(two(0, 8, 2, 2), 8, {"tensor 'b' at [2, 2] overlaps tensor 'a' at [0, 8]"});
  refuses_header(two(5, 8, 0, 4), 8, {"bytes [4, 5] before tensor 'a' belong to no tensor"});
  refuses_header(two(1, 4, 4, 8), 8, {"bytes [0, 1] before tensor 'a' belong to no tensor"});
  refuses_header(two(0, 4, 4, 7), 8, {"bytes [7, 8] at the end belong to no tensor"});
  const std::string fine = safetensors_bytes(two(4, 8, 0, 4), "12345678");
  const Safetensors file(std::as_bytes(std::span(fine.data(), fine.size())), "m");
  CHECK(file.read<std::uint8_t>("b").data()[0] == '1');
}

TEST_CASE("fixtures written by Python's safetensors are read") {
  const auto path = real_data("huggingface/mistral_window_f32/expected.safetensors");
  if (!path) return;
  const Safetensors file(*path);
  const auto ids = file.read<std::int64_t>("ids");
  CHECK(file.info("logits").shape.back() == 96);
  CHECK(file.read<double>("logits").size() == ids.size() * 96);
  for (const auto id : ids.span()) CHECK((id >= 0 && id < 96));
}
