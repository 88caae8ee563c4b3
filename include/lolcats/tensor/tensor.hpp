// Arrays: View borrows, Tensor shares ownership.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tensor/shape.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace lolcats {

/// A borrowed dense row-major array.  Trivially copyable; a View<T> converts to a View<const T>.
template <class T>
struct View {
  T* data = nullptr;
  Shape shape;

  constexpr View() = default;
  constexpr View(T* pointer, const Shape& extents) : data(pointer), shape(extents) {}
  template <class U>
    requires std::is_same_v<const U, T> && (!std::is_const_v<U>)
  constexpr View(const View<U>& other) : data(other.data), shape(other.shape) {}

  constexpr Index size() const { return shape.size(); }
  constexpr Index rows() const { return shape.rows(); }
  constexpr Index cols() const { return shape.cols(); }
  constexpr explicit operator bool() const { return data != nullptr; }

  /// The same elements under another shape of the same size.
  View reshaped(const Shape& extents) const {
    require<ShapeError>(extents.size() == size(), "reshaped: {} holds {} elements, expected {} for {}",
                        to_string(shape), size(), extents.size(), to_string(extents));
    return {data, extents};
  }

  /// `count` rows from `first`, as a matrix.
  constexpr View row_range(Index first, Index count) const { return {data + first * cols(), Shape{count, cols()}}; }

  /// Host memory only.
  std::span<T> span() const { return {data, static_cast<std::size_t>(size())}; }
};

/// Host memory, aligned for the widest vector registers.
struct Host {
  static constexpr std::size_t alignment = 64;
  static void* allocate(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{alignment}); }
  static void release(void* memory) noexcept { ::operator delete(memory, std::align_val_t{alignment}); }
};

/// A dense row-major array in memory space `Space` that keeps its storage alive.
///
/// Copying a Tensor copies the handle, not the elements: a teacher and its students hold the same weights.  The
/// storage may be a private allocation or a part of a mapped file; `clone` gives an independent copy.
template <class T, class Space = Host>
class Tensor {
 public:
  Tensor() = default;

  /// A fresh, uninitialised array.
  explicit Tensor(const Shape& shape) {
    const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(shape.size());
    owner_ = std::shared_ptr<void>(Space::allocate(bytes ? bytes : 1), [](void* memory) { Space::release(memory); });
    view_ = View<T>(static_cast<T*>(owner_.get()), shape);
  }

  /// Borrows `view`, whose storage `owner` keeps alive.
  Tensor(View<T> view, std::shared_ptr<void> owner) : view_(view), owner_(std::move(owner)) {}

  View<T> view() { return view_; }
  View<const T> view() const { return view_; }
  operator View<T>() { return view_; }
  operator View<const T>() const { return view_; }

  T* data() { return view_.data; }
  const T* data() const { return view_.data; }
  const Shape& shape() const { return view_.shape; }
  Index size() const { return view_.size(); }
  explicit operator bool() const { return static_cast<bool>(view_); }
  bool shares_storage_with(const Tensor& other) const { return view_.data && view_.data == other.view_.data; }

  /// Host memory only.
  std::span<T> span() { return view_.span(); }
  std::span<const T> span() const { return View<const T>(view_).span(); }

 private:
  View<T> view_;
  std::shared_ptr<void> owner_;
};

}  // namespace lolcats
