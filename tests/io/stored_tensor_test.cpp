#include <lolcats/io/stored_tensor.hpp>

#include "support.hpp"

#include <cmath>
#include <limits>

using namespace lolcats;
using namespace io_test;

namespace {

/// Bytes on an 8-byte boundary, `offset` bytes behind it.
struct Bytes {
  std::shared_ptr<std::vector<double>> memory;
  std::span<const std::byte> bytes;

  template <class T>
  Bytes(const std::vector<T>& values, std::size_t offset = 0)
      : memory(std::make_shared<std::vector<double>>(values.size() * sizeof(T) / 8 + 4)) {
    std::byte* start = reinterpret_cast<std::byte*>(memory->data()) + offset;
    if (!values.empty()) std::memcpy(start, values.data(), values.size() * sizeof(T));
    bytes = {start, values.size() * sizeof(T)};
  }
};

template <class T>
std::vector<double> loaded(DType type, const Bytes& from, std::vector<Index> shape) {
  const Tensor<T> tensor = load_stored<T>({"a", type, std::move(shape), from.bytes}, "f", from.memory);
  std::vector<double> values;
  for (const T value : tensor.span()) values.push_back(static_cast<double>(value));
  return values;
}

}  // namespace

TEST_CASE("every floating type is read as float, double and bf16") {
  const std::vector<double> want = {1.0, -2.5, 0.0, 96.0};  // exact in all of them
  const std::vector<float> f32 = {1.0F, -2.5F, 0.0F, 96.0F};
  const std::vector<std::uint16_t> f16 = {0x3c00, 0xc100, 0x0000, 0x5600}, bf = {0x3f80, 0xc020, 0x0000, 0x42c0};
  for (const std::size_t offset : {0, 1, 2, 4}) {  // aligned or not
    CAPTURE(offset);
    CHECK(loaded<float>(DType::F64, {want, offset}, {4}) == want);
    CHECK(loaded<float>(DType::F32, {f32, offset}, {2, 2}) == want);
    CHECK(loaded<float>(DType::F16, {f16, offset}, {4}) == want);
    CHECK(loaded<float>(DType::BF16, {bf, offset}, {4}) == want);
    CHECK(loaded<double>(DType::F64, {want, offset}, {4}) == want);
    CHECK(loaded<double>(DType::F32, {f32, offset}, {1, 2, 1, 2}) == want);
    CHECK(loaded<double>(DType::F16, {f16, offset}, {4}) == want);
    CHECK(loaded<double>(DType::BF16, {bf, offset}, {4}) == want);
    CHECK(loaded<bf16>(DType::F64, {want, offset}, {4}) == want);
    CHECK(loaded<bf16>(DType::F32, {f32, offset}, {4}) == want);
    CHECK(loaded<bf16>(DType::F16, {f16, offset}, {4}) == want);
    CHECK(loaded<bf16>(DType::BF16, {bf, offset}, {4}) == want);
  }
}

TEST_CASE("half precision keeps its subnormals, infinities and NaN") {
  const std::vector<std::uint16_t> f16 = {0x0001, 0x83ff, 0x7c00, 0xfc00, 0x7e01, 0x7bff};
  const auto got = loaded<double>(DType::F16, {f16}, {6});
  CHECK(got[0] == std::ldexp(1.0, -24));
  CHECK(got[1] == -std::ldexp(1023.0, -24));
  CHECK(got[2] == std::numeric_limits<double>::infinity());
  CHECK(got[3] == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(got[4]));
  CHECK(got[5] == 65504.0);
}

TEST_CASE("integers are read without loss") {
  const std::vector<std::int64_t> wide = {-1, std::numeric_limits<std::int64_t>::max()};
  const std::vector<std::int32_t> narrow = {-7, std::numeric_limits<std::int32_t>::min()};
  const Bytes wide_bytes(wide, 4), narrow_bytes(narrow, 1), byte(std::vector<std::uint8_t>{200});
  const auto a = load_stored<std::int64_t>({"a", DType::I64, {2}, wide_bytes.bytes}, "f", nullptr);
  CHECK(std::vector(a.span().begin(), a.span().end()) == wide);
  const auto b = load_stored<std::int64_t>({"a", DType::I32, {2}, narrow_bytes.bytes}, "f", nullptr);
  CHECK(b.span()[0] == -7);
  CHECK(b.span()[1] == std::numeric_limits<std::int32_t>::min());
  CHECK(load_stored<std::int32_t>({"a", DType::I32, {2}, narrow_bytes.bytes}, "f", nullptr).span()[0] == -7);
  CHECK(load_stored<std::uint8_t>({"a", DType::U8, {}, byte.bytes}, "f", nullptr).span()[0] == 200);
}

TEST_CASE("a tensor of the same type is borrowed where it is aligned, and keeps its owner alive") {
  const std::vector<float> values = {1, 2, 3};
  auto bytes = std::make_unique<Bytes>(values, 4);
  const std::byte* place = bytes->bytes.data();
  const Tensor<float> borrowed = load_stored<float>({"a", DType::F32, {3}, bytes->bytes}, "f", bytes->memory);
  CHECK(static_cast<const void*>(borrowed.data()) == place);
  const Tensor<double> converted = load_stored<double>({"a", DType::F32, {3}, bytes->bytes}, "f", bytes->memory);
  const std::weak_ptr<void> memory = bytes->memory;
  bytes.reset();
  CHECK_FALSE(memory.expired());
  CHECK(borrowed.span()[2] == 3);
  CHECK(converted.span()[2] == 3);

  const Bytes odd(values, 2);
  const Tensor<float> copied = load_stored<float>({"a", DType::F32, {3}, odd.bytes}, "f", odd.memory);
  CHECK(static_cast<const void*>(copied.data()) != odd.bytes.data());
  CHECK(copied.span()[2] == 3);
}

TEST_CASE("tensors without elements and scalars have their shapes") {
  const Bytes nothing(std::vector<float>{}), one(std::vector<float>{5});
  CHECK(load_stored<float>({"a", DType::F32, {2, 0}, nothing.bytes}, "f", nullptr).shape() == Shape{2, 0});
  const auto scalar = load_stored<float>({"a", DType::F32, {}, one.bytes}, "f", one.memory, Shape{});
  CHECK(scalar.shape() == Shape{});
  CHECK(scalar.data()[0] == 5);
}

TEST_CASE("wrong types and shapes name file, tensor, got and expected") {
  const Bytes four(std::vector<float>{1, 2, 3, 4});
  const TensorInfo real{"a", DType::F32, {2, 2}, four.bytes}, whole{"a", DType::I32, {2, 2}, four.bytes};
  check_throws<FormatError>([&] { load_stored<float>(whole, "f.safetensors", nullptr); },
                            {"f.safetensors: tensor 'a' is I32, expected F64, F32, F16 or BF16"});
  check_throws<FormatError>([&] { load_stored<std::int64_t>(real, "f", nullptr); }, {"is F32, expected I64 or I32"});
  check_throws<FormatError>([&] { load_stored<std::int32_t>(real, "f", nullptr); }, {"is F32, expected I32"});
  check_throws<ShapeError>([&] { load_stored<float>(real, "f", nullptr, Shape{4}); },
                           {"f: tensor 'a' has shape (2, 2), expected (4)"});
  check_throws<ShapeError>([&] { load_stored<float>(real, "f", nullptr, Shape{2, 2, 1}); }, {"expected (2, 2, 1)"});
  const TensorInfo five{"a", DType::F32, {1, 1, 1, 2, 2}, four.bytes};
  check_throws<FormatError>([&] { load_stored<float>(five, "f", nullptr); },
                            {"has shape (1, 1, 1, 2, 2), expected at most 4 axes"});
}

TEST_CASE("rows of the interleaved rotary order are returned to that of Hugging Face, and copied for it") {
  const Bytes one(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  TensorInfo info{"a", DType::F32, {8}, one.bytes};
  info.interleaved_heads = 2;  // two heads of four
  const Tensor<float> vector = load_stored<float>(info, "f", one.memory);
  CHECK(std::vector<float>(vector.span().begin(), vector.span().end()) == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
  info.shape = {4, 2};
  info.interleaved_heads = 1;
  const Tensor<bf16> matrix = load_stored<bf16>(info, "f", one.memory, {4, 2});
  CHECK(std::vector<float>(matrix.span().begin(), matrix.span().end()) == std::vector<float>{0, 1, 4, 5, 2, 3, 6, 7});
  const Bytes six(std::vector<float>{0, 1, 2, 3, 4, 5});
  info = {"a", DType::F32, {6}, six.bytes};
  info.interleaved_heads = 2;  // of three rows each: a row without its partner
  check_throws<ShapeError>([&] { load_stored<float>(info, "f", nullptr); }, {"(6), expected rows of 2 heads of even size"});
  info.interleaved_heads = 1;
  info.bytes = {};
  info.shape = {0, 2};
  CHECK(load_stored<float>(info, "f", nullptr).shape() == Shape{0, 2});
  info.shape = {Index{1} << 60, 0};  // takes no time
  CHECK(load_stored<float>(info, "f", nullptr).size() == 0);
}
