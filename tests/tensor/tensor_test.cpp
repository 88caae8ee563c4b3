// View and Tensor.
#include <lolcats/tensor/tensor.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <numeric>
#include <vector>

using namespace lolcats;

TEST_CASE("copies of a tensor share its elements and keep them alive") {
  Tensor<float> copy;
  CHECK_FALSE(copy);
  {
    Tensor<float> tensor(Shape{2, 3});
    std::iota(tensor.data(), tensor.data() + 6, 0.0F);
    copy = tensor;
    CHECK(copy.shares_storage_with(tensor));
  }
  CHECK(copy.span()[5] == 5.0F);
  CHECK_FALSE(copy.shares_storage_with(Tensor<float>(Shape{2, 3})));
}

TEST_CASE("storage is aligned, and may be empty") {
  for (const Index size : {0, 1, 3, 63, 64, 65}) {
    const Tensor<double> tensor(Shape{size});
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.data()) % Host::alignment == 0);
    CHECK(tensor.size() == size);
    CHECK(tensor);
  }
}

TEST_CASE("a tensor can borrow, and its owner lives as long as it") {
  auto owner = std::make_shared<std::vector<float>>(std::vector{1.0F, 2.0F, 3.0F});
  const std::weak_ptr<std::vector<float>> watch = owner;
  Tensor<float> tensor(View<float>(owner->data(), Shape{3}), owner);
  owner.reset();
  CHECK_FALSE(watch.expired());
  CHECK(tensor.span()[2] == 3.0F);
  tensor = {};
  CHECK(watch.expired());
}

TEST_CASE("views: rows, reshaping, constness") {
  std::vector<int> numbers(24);
  std::iota(numbers.begin(), numbers.end(), 0);
  const View<int> view(numbers.data(), Shape{2, 3, 4});
  CHECK(view.rows() == 6);
  CHECK(view.cols() == 4);
  const View<const int> constant = view;
  CHECK(constant.row_range(2, 3).data[0] == 8);
  CHECK(constant.row_range(2, 3).shape == Shape{3, 4});
  CHECK(view.reshaped(Shape{4, 6}).shape == Shape{4, 6});
  CHECK_THROWS_WITH_AS(view.reshaped(Shape{5, 5}), "reshaped: (2, 3, 4) holds 24 elements, expected 25 for (5, 5)",
                       ShapeError);
  static_assert(!std::is_convertible_v<View<const int>, View<int>>);
  static_assert(std::is_trivially_copyable_v<View<int>>);
}

TEST_CASE("a smaller shape is no other shape of a view") {
  const Tensor<float> x(Shape{2, 3});
  CHECK(x.view().reshaped(Shape{6}).shape == Shape{6});
  CHECK_THROWS_AS(x.view().reshaped(Shape{5}), ShapeError);
  CHECK_THROWS_AS(x.view().reshaped(Shape{7}), ShapeError);
}
