#include <lolcats/io/safetensors.hpp>
#include <lolcats/io/safetensors_writer.hpp>

#include "support.hpp"

#include <numeric>

using namespace lolcats;
using namespace io_test;

namespace {

template <class T>
Tensor<T> counting(const Shape& shape, double start, double step) {
  Tensor<T> tensor(shape);
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = T(static_cast<float>(start + step * double(i)));
  return tensor;
}

}  // namespace

TEST_CASE("every stored type comes back with name, shape, values and metadata") {
  const TemporaryFolder folder;
  const Tensor<float> f = counting<float>({2, 3}, -1, 0.5);
  const Tensor<double> d = counting<double>({3}, 1, 0.25);
  const Tensor<bf16> b = counting<bf16>({1, 2, 1, 2}, 2, 1);
  Tensor<std::int64_t> i(Shape{2});
  i.data()[0] = -1, i.data()[1] = INT64_MAX;
  const Tensor<float> empty(Shape{0, 4}), scalar = counting<float>({}, 7, 0);
  write_safetensors(folder / "m", {{"a.bf16", b}, {"f", f}, {"d", d}, {"i", i}, {"e", empty}, {"s", scalar}},
                    {{"k", "v \"\u00e9\""}});
  const Safetensors file(folder / "m");
  CHECK(file.names() == std::vector<std::string>{"a.bf16", "d", "e", "f", "i", "s"});
  CHECK(file.metadata() == std::map<std::string, std::string>{{"k", "v \"\u00e9\""}});
  CHECK(file.info("a.bf16").dtype == DType::BF16);
  CHECK(file.info("f").dtype == DType::F32);
  CHECK(file.info("d").dtype == DType::F64);
  CHECK(file.info("i").dtype == DType::I64);
  const auto same = [](const auto& want, const auto& got) {
    CHECK(want.shape() == got.shape());
    CHECK(std::memcmp(want.data(), got.data(), want.span().size_bytes()) == 0);
  };
  same(f, file.read<float>("f"));
  same(d, file.read<double>("d"));
  same(b, file.read<bf16>("a.bf16"));
  same(i, file.read<std::int64_t>("i"));
  same(scalar, file.read<float>("s", Shape{}));
  CHECK(file.read<float>("e").shape() == Shape{0, 4});
}

TEST_CASE("the stored type is chosen per tensor, and rounds to nearest") {
  const TemporaryFolder folder;
  Tensor<float> f(Shape{3});
  f.data()[0] = 1.0F + 0x1p-8F, f.data()[1] = 1.0F + 0x3p-8F, f.data()[2] = -3;  // two ties between bf16 values
  const Tensor<bf16> b = counting<bf16>({2}, 1, 1);
  const Tensor<double> d = counting<double>({2}, 1, 1);
  write_safetensors(folder / "m", {{"f16", f, DType::BF16},
                                   {"f64", f, DType::F64},
                                   {"b32", b, DType::F32},
                                   {"d16", d, DType::BF16},
                                   {"d32", d, DType::F32}});
  const Safetensors file(folder / "m");
  CHECK(file.read<float>("f16").data()[0] == 1.0F);
  CHECK(file.read<float>("f16").data()[1] == 1.0F + 0x4p-8F);
  CHECK(file.read<double>("f64").data()[1] == 1.0 + 0x3p-8);
  CHECK(file.info("b32").dtype == DType::F32);
  CHECK(file.read<float>("b32").data()[1] == 2);
  CHECK(file.read<float>("d16").data()[1] == 2);
  CHECK(file.read<float>("d32").data()[1] == 2);
}

TEST_CASE("a tensor longer than one conversion block is written whole") {
  const TemporaryFolder folder;
  const Index size = (Index{1} << 17) + 5;
  const Tensor<float> f = counting<float>({size}, 0, 1);  // exact in float32: below 2^24
  write_safetensors(folder / "m", {{"f", f, DType::F64}});
  const Tensor<double> got = Safetensors(folder / "m").read<double>("f", {size});
  bool same = true;
  for (Index i = 0; i < size; ++i) same = same && got.data()[i] == double(i);
  CHECK(same);
}

TEST_CASE("every tensor can be borrowed") {
  const TemporaryFolder folder;
  const Tensor<bf16> b = counting<bf16>({3}, 0, 1);
  const Tensor<float> f = counting<float>({3}, 0, 1);
  const Tensor<double> d = counting<double>({3}, 0, 1);
  for (std::size_t length = 1; length < 9; ++length) {
    write_safetensors(folder / "m", {{std::string(length, 'a'), b}, {"f", f}, {"d", d}});
    const Safetensors file(folder / "m");
    const auto borrowed = [&]<class T>(const char* name, T) {
      return static_cast<const void*>(file.read<T>(name).data()) == file.info(name).bytes.data();
    };
    CHECK(borrowed("f", float{}));
    CHECK(borrowed("d", double{}));
    CHECK(borrowed(std::string(length, 'a').c_str(), bf16{}));
    std::uint64_t header = 0;
    std::memcpy(&header, get(folder / "m").data(), 8);
    CHECK(header % 8 == 0);
  }
}

TEST_CASE("what cannot be written is refused and leaves the old file") {
  const TemporaryFolder folder;
  put(folder / "m", "old");
  const Tensor<float> f = counting<float>({2}, 0, 1);
  const Tensor<std::int64_t> i(Shape{0});
  check_throws<FormatError>(
      [&] {
        write_safetensors(folder / "m", {{"a", f}, {"a", f}});
      },
      {"two tensors are named 'a'"});
  check_throws<FormatError>([&] { write_safetensors(folder / "m", {{"a", f}, {"a", f, DType::F64}}); }, {"named 'a'"});
  check_throws<FormatError>(
      [&] {
        write_safetensors(folder / "m", {{"a", f, DType::I64}});
      },
      {"tensor 'a' cannot be written as I64, expected F64, F32 or BF16"});
  check_throws<FormatError>(
      [&] {
        write_safetensors(folder / "m", {{"a", f, DType::F16}});
      },
      {"cannot be written as F16"});
  check_throws<FormatError>([&] { write_safetensors(folder / "m", {{"a", i, DType::F32}}); }, {"as F32, expected I64"});
  check_throws<FormatError>([&] { write_safetensors(folder / "m", {{"__metadata__", f}}); }, {"'__metadata__'"});
  check_throws<FormatError>([&] { write_safetensors(folder / "m", {{"\xff", f}}); }, {"not valid UTF-8"});
  check_throws<FileError>([&] { write_safetensors(folder / "none" / "m", {{"a", f}}); }, {"none/m", "No such file"});
  CHECK(get(folder / "m") == "old");
  CHECK(folder.count() == 1);
}
