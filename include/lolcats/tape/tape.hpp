// Reverse-mode differentiation over an explicit tape.
#pragma once

#include <lolcats/backend/backend.hpp>
#include <lolcats/tape/arena.hpp>
#include <lolcats/tape/parameter.hpp>

#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace lolcats {

/// Where a pullback puts a gradient: written on the first visit, added to on later ones.
template <class T>
struct Sink {
  View<T> gradient;
  bool add = false;
};

namespace detail {

/// Memory of gradients: from the arena, or from a value of the same size whose pullback has run, since nobody reads its
/// gradient again.  So a backward pass needs a few gradients at a time, however long the tape is.
template <class Space>
class GradientMemory {
 public:
  explicit GradientMemory(Arena<Space>& arena) : arena_(arena) {}

  void* take(std::size_t bytes) {
    for (std::size_t i = free_.size(); i-- > 0;) {
      if (free_[i].bytes != bytes) continue;
      void* memory = free_[i].memory;
      free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
      return memory;
    }
    return arena_.allocate(bytes);
  }
  void give_back(void* memory, std::size_t bytes) { free_.push_back({memory, bytes}); }

  struct Piece {
    void* memory;
    std::size_t bytes;
  };
  /// What lies idle; a scope sets it aside, because its own pieces disappear with it.
  std::vector<Piece>& idle() { return free_; }

 private:
  Arena<Space>& arena_;
  std::vector<Piece> free_;
};

template <Backend B, class T>
struct Node {
  View<const T> value;
  View<T> gradient;
  bool wanted = false;        // someone downstream of a trained value
  bool has_gradient = false;  // the gradient has been written
  GradientMemory<typename B::Space>* memory = nullptr;

  std::size_t bytes() const { return sizeof(T) * static_cast<std::size_t>(value.size()); }
};

}  // namespace detail

/// A value on a tape.  A handle: copying it copies nothing, and it is valid until the tape's scope ends.
template <Backend B, class T = Scalar<B>>
class Var {
 public:
  Var() = default;
  explicit Var(detail::Node<B, T>* node) : node_(node) {}

  explicit operator bool() const { return node_ != nullptr; }
  View<const T> value() const { return node_->value; }
  const Shape& shape() const { return node_->value.shape; }
  Index rows() const { return shape().rows(); }
  Index cols() const { return shape().cols(); }

  /// Does anything that is trained lie upstream?  If not, pullbacks leave this value alone.
  bool wants_gradient() const { return node_->wanted; }
  /// Has a gradient arrived?
  bool has_gradient() const { return node_->has_gradient; }
  /// After `backward` only that of a `variable` is still there: others have made room.
  View<const T> gradient() const { return node_->gradient; }

  /// Where to put the next contribution to the gradient.
  Sink<T> sink() const {
    if (!node_->gradient) node_->gradient = {static_cast<T*>(node_->memory->take(node_->bytes())), shape()};
    return {node_->gradient, std::exchange(node_->has_gradient, true)};
  }

 private:
  template <Backend C>
  friend class Tape;

  /// The gradient has been read for the last time.
  void drop_gradient() const { node_->memory->give_back(node_->gradient.data, node_->bytes()); }

  detail::Node<B, T>* node_ = nullptr;
};

/// A scalar in Real.
template <Backend B>
using Loss = Var<B, Real<B>>;

/// Records operations and runs their pullbacks in reverse.
///
/// An operation computes its result and records one lambda beside it.  Values and closures live in arenas that are
/// rewound when a Scope ends, so closures hold handles and plain numbers only (they are never destroyed).
/// A value that depends on nothing trained records nothing and has no gradient.
template <Backend B>
class Tape {
 public:
  explicit Tape(B backend = {}) : backend_(backend) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  const B& backend() const { return backend_; }

  /// While alive, nothing is recorded on the tape.
  class NoGradient {
   public:
    explicit NoGradient(Tape& tape) : tape_(tape), before_(std::exchange(tape.recording_, false)) {}
    NoGradient(const NoGradient&) = delete;
    NoGradient& operator=(const NoGradient&) = delete;
    ~NoGradient() { tape_.recording_ = before_; }

   private:
    Tape& tape_;
    bool before_;
  };

  /// Values and records made while a Scope is alive disappear with it.
  class Scope {
   public:
    explicit Scope(Tape& tape)
        : tape_(tape),
          values_(tape.values_.mark()),
          host_(tape.host_.mark()),
          idle_(std::exchange(tape.gradients_.idle(), {})),
          records_(tape.records_.size()) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      tape_.records_.resize(records_);
      tape_.values_.rewind(values_);
      tape_.host_.rewind(host_);
      tape_.gradients_.idle() = std::move(idle_);
    }
    std::size_t first_record() const { return records_; }

   private:
    Tape& tape_;
    typename Arena<typename B::Space>::Mark values_;
    Arena<Host>::Mark host_;
    std::vector<typename detail::GradientMemory<typename B::Space>::Piece> idle_;
    std::size_t records_;
  };

  /// A borrowed value without gradient.
  template <class T = Scalar<B>>
  Var<B, T> constant(std::type_identity_t<View<const T>> value) {
    return make<T>(value, false);
  }

  /// A borrowed value whose gradient is wanted: read it with `gradient()` after `backward`.
  template <class T = Scalar<B>>
  Var<B, T> variable(std::type_identity_t<View<const T>> value) {
    return make<T>(value, true);
  }

  /// A fresh value for an operation to fill; `wanted` says whether anything trained lies upstream.
  template <class T = Scalar<B>>
  std::pair<Var<B, T>, View<T>> result(const Shape& shape, bool wanted) {
    const View<T> value = scratch<T>(shape);
    return {make<T>(value, wanted && recording_), value};
  }

  /// Uninitialised memory that lives as long as the values of the current scope.
  template <class T>
  View<T> scratch(const Shape& shape) {
    return values_.template allocate<T>(shape);
  }

  /// Calls `pullback()` during `backward` if a gradient for `output` has arrived by then.
  template <class T, class F>
  void record(Var<B, T> output, F pullback) {
    static_assert(std::is_trivially_destructible_v<F>, "a pullback holds handles and plain numbers; it is never destroyed");
    if (!output.wants_gradient()) return;
    struct Closure {
      Var<B, T> output;
      F pullback;
    };
    void* memory = host_.allocate(sizeof(Closure));
    records_.push_back({[](void* closure) {
                          auto& c = *static_cast<Closure*>(closure);
                          if (!c.output.has_gradient()) return;
                          c.pullback();
                          c.output.drop_gradient();
                        },
                        new (memory) Closure{output, std::move(pullback)}});
  }

  /// Runs the pullbacks recorded since `first_record` in reverse, from d loss / d loss = upstream.
  /// A loss that depends on nothing trained is an error.
  template <class T>
  void backward(Var<B, T> loss, double upstream = 1.0, std::size_t first_record = 0) {
    require<Error>(loss.shape().size() == 1, "backward: loss has shape {}, expected one number", to_string(loss.shape()));
    require<Error>(loss.wants_gradient(), "backward: the loss does not depend on anything that is trained");
    const Sink<T> sink = loss.sink();
    backend_.from_host(&upstream, sink.gradient.data, 1);
    replay(first_record);
  }

  /// Runs and drops the pullbacks recorded since `first_record`.  Gradients must have been seeded.
  void replay(std::size_t first_record) {
    const NoGradient quiet(*this);
    while (records_.size() > first_record) {
      const Record record = records_.back();
      records_.pop_back();
      record.run(record.closure);
    }
  }

  bool recording() const { return recording_; }
  std::size_t records() const { return records_.size(); }
  /// Most bytes of values, gradients and saved statistics that were alive at once.
  std::size_t peak_bytes() const { return values_.peak_bytes(); }

  /// Random operations (dropout) draw from streams of this seed; set it once per training step, so that
  /// recomputation draws the same numbers.
  std::uint64_t seed = 0;
  /// Random operations act in training only.
  bool training = false;
  /// Updates done before this step, for what changes on the way.
  Index update = 0;

 private:
  struct Record {
    void (*run)(void*);
    void* closure;
  };

  template <class T>
  Var<B, T> make(View<const T> value, bool wanted) {
    using Node = detail::Node<B, T>;
    return Var<B, T>(new (host_.allocate(sizeof(Node))) Node{value, {}, wanted, false, &gradients_});
  }

  template <Backend C, class F>
  friend Var<C> checkpoint(Tape<C>&, F, Var<C>);

  B backend_;
  Arena<typename B::Space> values_;
  detail::GradientMemory<typename B::Space> gradients_{values_};
  Arena<Host> host_{std::size_t{1} << 16};
  std::vector<Record> records_;
  bool recording_ = true;
};

/// The value of a loss; waits for the backend.
template <Backend B, class T>
double item(const Tape<B>& tape, Var<B, T> x) {
  double value = 0;
  tape.backend().to_host(x.value().data, &value, 1);
  return value;
}

}  // namespace lolcats
