#include <lolcats/io/ggml_blocks.hpp>
#include <lolcats/io/stored_tensor.hpp>

#include "gguf_support.hpp"
#include "support.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

using namespace lolcats;
using namespace io_test;

namespace {

using BlockBytes = std::vector<unsigned char>;

/// A half at this offset, in double.
double half(const unsigned char* b, int at) {
  const int bits = b[at] + 256 * b[at + 1], fraction = bits % 1024, exponent = bits / 1024 % 32;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >= 32768 ? -magnitude : magnitude;
}

/// Bits [first, first + count) of a row of bytes, the lowest bit of each byte first.
int bits(const unsigned char* b, int first, int count) {
  int value = 0;
  for (int i = 0; i < count; ++i) value += (b[(first + i) / 8] >> ((first + i) % 8) & 1) << i;
  return value;
}

/// Number i of a block, from the descriptions of the layouts in ggml-common.h; everything is in bits.
double number(std::uint32_t type, const unsigned char* b, int i) {
  // Blocks of 32: byte i % 16 holds the four bits of i and of i + 16.
  const auto four = [&](int offset) { return bits(b + offset, i % 16 * 8 + (i < 16 ? 0 : 4), 4); };
  switch (type) {
    case ggml_q4_0: return half(b, 0) * (four(2) - 8);
    case ggml_q4_1: return half(b, 0) * four(4) + half(b, 2);
    case ggml_q5_0: return half(b, 0) * (four(6) + 16 * bits(b + 2, i, 1) - 16);
    case ggml_q5_1: return half(b, 0) * (four(8) + 16 * bits(b + 4, i, 1)) + half(b, 2);
    case ggml_q8_0: return half(b, 0) * (b[2 + i] < 128 ? b[2 + i] : b[2 + i] - 256);
    case ggml_q4_k:
    case ggml_q5_k: {
      // 8 sub-blocks s; pairs of them share 32 bytes.  Scales and minimums s < 4: six low bits of bytes s and 4 + s; the
      // others: half of byte 4 + s below the two high bits of bytes s - 4 and s.
      const int s = i / 32;
      const unsigned char* packed = b + 4;
      const int scale =
          s < 4 ? bits(packed, 8 * s, 6) : bits(packed, 8 * (s + 4), 4) + 16 * bits(packed, 8 * (s - 4) + 6, 2);
      const int least =
          s < 4 ? bits(packed, 8 * (s + 4), 6) : bits(packed, 8 * (s + 4) + 4, 4) + 16 * bits(packed, 8 * s + 6, 2);
      const int lows = type == ggml_q4_k ? 16 : 48;
      int q = bits(b + lows, (s / 2 * 32 + i % 32) * 8 + s % 2 * 4, 4);
      if (type == ggml_q5_k) q += 16 * bits(b + 16, i % 32 * 8 + s, 1);
      return half(b, 0) * scale * q - half(b, 2) * least;
    }
    case ggml_q6_k: {
      // Halves of 128; in each, 64 bytes hold low fours of i % 64 and of 64 more, 32 bytes four pairs of high bits.
      const int h = i / 128, j = i % 128;
      const int low = bits(b + 64 * h, j % 64 * 8 + j / 64 * 4, 4),
                high = bits(b + 128 + 32 * h, j % 32 * 8 + j / 32 * 2, 2);
      const int scale = b[192 + i / 16] < 128 ? b[192 + i / 16] : b[192 + i / 16] - 256;
      return half(b, 208) * scale * (low + 16 * high - 32);
    }
    default: return std::nan("");
  }
}

struct Case {
  std::uint32_t type;
  const char* name;
  int numbers, bytes;
  std::vector<int> halves;  // where they lie
};
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {ggml_q4_0, "Q4_0", 32, 18, {0}},      {ggml_q4_1, "Q4_1", 32, 20, {0, 2}},
      {ggml_q5_0, "Q5_0", 32, 22, {0}},      {ggml_q5_1, "Q5_1", 32, 24, {0, 2}},
      {ggml_q8_0, "Q8_0", 32, 34, {0}},      {ggml_q4_k, "Q4_K", 256, 144, {0, 2}},
      {ggml_q5_k, "Q5_K", 256, 176, {0, 2}}, {ggml_q6_k, "Q6_K", 256, 210, {208}},
  };
  return all;
}

/// Random blocks whose halves are finite, subnormal ones among them.
BlockBytes random_blocks(const Case& c, int count, std::uint64_t seed) {
  BlockBytes bytes(static_cast<std::size_t>(count * c.bytes));
  std::uint64_t state = seed * 2 + 1;
  for (unsigned char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<unsigned char>(state >> 56);
  }
  for (int i = 0; i < count; ++i) {
    for (const int at : c.halves) {
      unsigned char& high = bytes[static_cast<std::size_t>(i * c.bytes + at + 1)];
      if ((high & 0x7c) == 0x7c) high = static_cast<unsigned char>(high & 0xbf);
      if (i % 16 == 3) high = static_cast<unsigned char>(high & 0x83);
    }
  }
  return bytes;
}

TensorInfo info_of(const Case& c, std::vector<Index> shape, const BlockBytes& bytes) {
  TensorInfo info{"a", DType::F32, std::move(shape), std::as_bytes(std::span(bytes))};
  info.quantized = GgmlType{c.type};
  return info;
}

}  // namespace

TEST_CASE("every quantized type is decoded as its definition says, to the bit, into each element type") {
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    // More numbers than one thread takes at a time, and no whole multiple of that.
    const int rows = 3, blocks = 65536 / c.numbers / 2 + 7;
    const BlockBytes bytes = random_blocks(c, rows * blocks, c.type);
    const TensorInfo info = info_of(c, {rows, blocks * c.numbers}, bytes);
    CHECK(stored_type(info) == c.name);
    const Tensor<float> single = load_stored<float>(info, "f", nullptr);
    const Tensor<double> wide = load_stored<double>(info, "f", nullptr);
    const Tensor<bf16> narrow = load_stored<bf16>(info, "f", nullptr);
    REQUIRE(single.shape() == Shape{rows, blocks * c.numbers});
    int wrong = 0;
    for (Index i = 0; i < single.size(); ++i) {
      const unsigned char* block = bytes.data() + i / c.numbers * c.bytes;
      const float want = static_cast<float>(number(c.type, block, static_cast<int>(i % c.numbers)));
      wrong += std::bit_cast<std::uint32_t>(want) != std::bit_cast<std::uint32_t>(single.data()[i]);
      wrong += wide.data()[i] != static_cast<double>(want);
      wrong += narrow.data()[i].bits != bf16(want).bits;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("blocks that gguf-py decoded") {
  // Byte i is 7 i^2 + 3 i + 5 modulo 256, except for the halves: the first is 0x2e66, the second as given.
  const auto check = [](std::uint32_t type, unsigned second, const std::vector<std::pair<int, float>>& want) {
    const Case& c = *std::find_if(cases().begin(), cases().end(), [&](const Case& x) { return x.type == type; });
    CAPTURE(std::string(c.name));
    BlockBytes bytes;
    for (int i = 0; i < c.bytes; ++i) bytes.push_back(static_cast<unsigned char>(7 * i * i + 3 * i + 5));
    const auto at = [&](std::size_t i) -> unsigned char& { return bytes[static_cast<std::size_t>(c.halves[i])]; };
    (&at(0))[0] = 0x66, (&at(0))[1] = 0x2e;
    if (c.halves.size() > 1) (&at(1))[0] = second & 255, (&at(1))[1] = static_cast<unsigned char>(second >> 8);
    std::vector<float> numbers(static_cast<std::size_t>(c.numbers), NAN);
    ggml_format(GgmlType{type})->decode(reinterpret_cast<const std::byte*>(bytes.data()), numbers.data());
    for (const auto& [i, x] : want) {
      CAPTURE(i);
      CHECK(numbers[static_cast<std::size_t>(i)] == x);
    }
  };
  check(ggml_q4_0, 0, {{0, -0x1.998p-4f}, {1, 0x1.ffep-2f}, {17, -0x1.998p-2f}, {31, -0x1.665p-1f}});
  check(ggml_q4_1, 0xb0cd, {{0, -0x1.9ap-5f}, {1, 0x1.33p-3f}, {17, 0x1.0cb8p+0f}, {31, -0x1.9ap-5f}});
  check(ggml_q5_0, 0, {{0, 0x1.332p-2f}, {1, 0x1.998p-4f}, {17, -0x1.ccbp-1f}, {31, 0x1.ffep-2f}});
  check(ggml_q5_1, 0xb0cd, {{0, 0x1.5fe8p+1f}, {1, 0x1.198p-1f}, {17, 0x1.f31p+0f}, {31, 0x1.0cb8p+0f}});
  check(ggml_q8_0, 0, {{0, 0x1.f314p+1f}, {1, 0x1.ecaep+2f}, {17, 0x1.731cp+1f}, {31, 0x1.2cbap+2f}});
  check(ggml_q4_k, 0x1ccd,
        {{0, 0x1.74a7p-2f},
         {33, 0x1.896ap-3f},
         {100, 0x1.5eb9dep+5f},
         {142, 0x1.66dfc6p+5f},
         {191, 0x1.1907dp+4f},
         {255, 0x1.03261ep+5f}});
  check(ggml_q5_k, 0x1ccd,
        {{0, 0x1.f6a9cp+0f},
         {33, 0x1.65cf5p+2f},
         {100, 0x1.24ef3p+6f},
         {142, 0x1.b9c5e4p+6f},
         {191, 0x1.55da9ap+7f},
         {255, 0x1.cb199ep+5f}});
  check(ggml_q6_k, 0,
        {{0, -0x1.2f86ap+6f},
         {33, 0x1.3f38d8p+8f},
         {100, -0x1.2aba2p+7f},
         {142, 0x1.391fap+6f},
         {191, 0x1.7d81cp+5f},
         {255, 0x1.dfe2p+5f}});
}

TEST_CASE("the table of types: each decoder under its number, and no number twice") {
  std::string list;
  for (const Case& c : cases()) {
    const GgmlFormat* format = ggml_format(GgmlType{c.type});
    REQUIRE(format != nullptr);
    CHECK(format->name == c.name);
    CHECK(format->numbers == c.numbers);
    CHECK(format->bytes == c.bytes);
    CHECK((format->decode != nullptr));
    CHECK(65536 % format->numbers == 0);  // load_stored divides the work so
    list += (list.empty() ? "" : ", ") + std::string(c.name);
  }
  CHECK(decoded_ggml_types() == list);
  for (std::size_t i = 0; i < ggml_formats.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK((ggml_formats[i].type != ggml_formats[j].type));
  }
  CHECK(ggml_format(GgmlType{4}) == nullptr);
  CHECK(name_of(GgmlType{14}) == "Q6_K");
  CHECK(name_of(GgmlType{4}) == "type 4");
}

TEST_CASE("rows of quantized tensors leave the interleaved rotary order") {
  const Case& c = cases()[4];
  // 3 heads of 6 rows; more rows than one thread takes at a time: 18 rows of 8192.
  const int rows = 18, blocks = 256;
  const BlockBytes bytes = random_blocks(c, rows * blocks, 1);
  TensorInfo info = info_of(c, {rows, blocks * 32}, bytes);
  const Tensor<float> plain = load_stored<float>(info, "f", nullptr);
  info.interleaved_heads = 3;
  const Tensor<double> turned = load_stored<double>(info, "f", nullptr);
  const int order[6] = {0, 2, 4, 1, 3, 5};
  for (int row = 0; row < rows; ++row) {
    CAPTURE(row);
    const float* from = plain.data() + (row / 6 * 6 + order[row % 6]) * 8192;
    CHECK(std::equal(from, from + 8192, turned.data() + row * 8192, [](float a, double b) { return a == b; }));
  }
  info.interleaved_heads = 5;
  check_throws<ShapeError>([&] { load_stored<float>(info, "f", nullptr); },
                           {"f: tensor 'a' has shape (18, 8192), expected rows of 5 heads of even size"});
  info.interleaved_heads = 2;  // heads of 9 rows
  check_throws<ShapeError>([&] { load_stored<float>(info, "f", nullptr); }, {"expected rows of 2 heads of even size"});

  TensorInfo vector = info_of(c, {64}, bytes);
  CHECK(load_stored<float>(vector, "f", nullptr).size() == 64);
  vector.interleaved_heads = 2;  // a block is not one row
  check_throws<FormatError>([&] { load_stored<float>(vector, "f", nullptr); },
                            {"tensor 'a' of shape (64) is Q8_0, expected rows of whole blocks of 32"});
}
