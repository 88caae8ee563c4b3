// The tokens of words that came before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// Tokens by word.  Bounded: when it is full it is emptied.  For one thread at a time.
class WordCache {
 public:
  using Token = std::int32_t;
  static constexpr std::size_t longest_word = 48;  // in bytes

  /// The tokens that insert() was given, valid until the next insert().
  std::optional<std::span<const Token>> find(std::string_view word) const {
    if (slots_.empty()) return std::nullopt;
    const Slot& slot = slots_[place(word)];
    if (slot.length == 0) return std::nullopt;
    return std::span(tokens_).subspan(slot.first, slot.count);
  }

  /// Keeps a word of 1 to longest_word bytes that is not there yet.
  void insert(std::string_view word, std::span<const Token> tokens) {
    if (count_ >= most_words || slots_.empty()) {
      slots_.assign(slot_count, {});
      letters_.clear();
      tokens_.clear();
      count_ = 0;
    }
    slots_[place(word)] = {static_cast<std::uint32_t>(letters_.size()), static_cast<std::uint32_t>(tokens_.size()),
                           hash(word), static_cast<std::uint16_t>(word.size()),
                           static_cast<std::uint16_t>(tokens.size())};
    letters_ += word;
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    ++count_;
  }

 private:
  static constexpr std::size_t slot_count = 1 << 16;
  static constexpr std::size_t most_words = slot_count / 2;

  struct Slot {
    std::uint32_t letters = 0, first = 0, hash = 0;
    std::uint16_t length = 0, count = 0;  // of the word in bytes, of its tokens
  };

  static std::uint32_t hash(std::string_view word) {
    const std::uint64_t h = std::hash<std::string_view>{}(word);
    return static_cast<std::uint32_t>(h ^ h >> 32);
  }
  /// Where the word is, or the free slot where it would be.
  std::size_t place(std::string_view word) const {
    const std::uint32_t h = hash(word);
    for (std::size_t at = h % slot_count;; at = (at + 1) % slot_count) {
      const Slot& slot = slots_[at];
      if (slot.length == 0 || (slot.hash == h && slot.length == word.size() &&
                               std::string_view(letters_).substr(slot.letters, slot.length) == word))
        return at;
    }
  }

  std::vector<Slot> slots_;
  std::string letters_;
  std::vector<Token> tokens_;
  std::size_t count_ = 0;
};

/// Objects that serve one call at a time, kept for the next call: as many as there were calls at once.
template <class T>
class Pool {
 public:
  /// A borrowed object, given back at the end of its scope.
  class Loan {
   public:
    explicit Loan(Pool& pool) : pool_(pool), object_(pool.take()) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.idle_.push_back(std::move(object_));
    }
    T& operator*() { return *object_; }
    T* operator->() { return object_.get(); }

   private:
    Pool& pool_;
    std::unique_ptr<T> object_;
  };

  Pool() = default;
  Pool(const Pool&) {}  // a copy starts empty
  Pool& operator=(const Pool&) { return *this; }

 private:
  std::unique_ptr<T> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto object = std::move(idle_.back());
        idle_.pop_back();
        return object;
      }
      idle_.reserve(idle_.size() + ++made_);  // giving back allocates nothing
    }
    return std::make_unique<T>();
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
  std::size_t made_ = 0;
};

}  // namespace lolcats
