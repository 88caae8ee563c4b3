// Gradients of weights per head, summed in a fixed order.
#pragma once

#include <lolcats/backend/cpu.hpp>
#include <lolcats/tape/tape.hpp>

namespace lolcats::eigen {

/// The gradient of one weight (heads, ...), one copy per sequence, so that work items for different sequences do not
/// meet; `add` sums the copies in order: the same bits on any number of threads.  Lives in the tape's current scope.
template <class T>
class HeadPartials {
 public:
  HeadPartials(Tape<Cpu<T>>& tape, const Weight<Cpu<T>>& weight, Index sequences) : weight_(weight) {
    if (!weight.trained()) return;
    const Shape& shape = weight.shape();
    // Window factors are stored (1, H, 1, 1); everything else has its heads in front.
    const Index heads = shape.rank() == 4 ? shape[1] : shape[0];
    per_head_ = shape.size() / heads;
    sums_ = tape.template scratch<T>(Shape{sequences, shape.size()});
    tape.backend().zero(sums_.data, sums_.size());
  }

  /// Null when nobody trains the weight.
  T* at(Index sequence, Index head) const {
    return sums_ ? sums_.data + sequence * sums_.cols() + head * per_head_ : nullptr;
  }

  void add() const {
    if (sums_) matrix(weight_.gradient.reshaped(Shape{1, sums_.cols()})) += matrix(sums_).colwise().sum();
  }

 private:
  Weight<Cpu<T>> weight_;
  Index per_head_ = 0;
  View<T> sums_;
};

}  // namespace lolcats::eigen
