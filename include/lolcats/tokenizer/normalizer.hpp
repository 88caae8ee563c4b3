// What is done to a text before it is cut into words.
#pragma once

#include <lolcats/tokenizer/nfc.hpp>
#include <lolcats/tokenizer/regex.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// What is looked for in a text: a string as it is, or a regular expression.
class TextPattern {
 public:
  /// `literal` must not be empty.
  explicit TextPattern(std::string literal) : literal_(std::move(literal)) {}
  explicit TextPattern(Regex regex) : regex_(std::move(regex)) {}

  /// Calls f(begin, end) for the matches in valid UTF-8, from left to right.
  template <class F>
  void for_each_match(std::string_view text, Regex::Scratch& scratch, F&& f) const {
    if (regex_) return regex_->for_each_match(text, scratch, f);
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size()))
      f(at, at + literal_.size());
  }
  /// Whether matches are found in any bytes.
  bool takes_bytes() const { return !regex_; }

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

/// A sequence of steps, each of which rewrites a text.
class Normalizer {
 public:
  enum class Kind { nfc, prepend, replace };
  struct Step {
    Kind kind = Kind::nfc;
    std::string content = {};                 // what is put in front, or in the place of a match
    std::optional<TextPattern> pattern = {};  // of replace
  };

  void add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  /// Whether a step puts something in front of texts.
  bool prepends() const {
    for (const Step& step : steps_) {
      if (step.kind == Kind::prepend) return true;
    }
    return false;
  }

  /// Bytes that are no UTF-8 pass through as they are.
  std::string operator()(std::string_view text, Regex::Scratch& scratch) const {
    std::string result(text);
    for (const Step& step : steps_) {
      if (step.kind == Kind::nfc) {
        result = nfc(result);
      } else if (step.kind == Kind::prepend) {
        if (!result.empty()) result.insert(0, step.content);
      } else if (step.pattern->takes_bytes()) {
        result = replaced(result, step, scratch);
      } else {
        std::string joined;
        utf8::for_each_stretch(result, [&](std::string_view stretch, bool valid) {
          valid ? joined += replaced(stretch, step, scratch) : joined += stretch;
        });
        result = std::move(joined);
      }
    }
    return result;
  }

 private:
  static std::string replaced(std::string_view text, const Step& step, Regex::Scratch& scratch) {
    std::string result;
    result.reserve(text.size());
    std::size_t done = 0;
    step.pattern->for_each_match(text, scratch, [&](std::size_t begin, std::size_t end) {
      result += text.substr(done, begin - done);
      result += step.content;
      done = end;
    });
    result += text.substr(done);
    return result;
  }

  std::vector<Step> steps_;
};

}  // namespace lolcats
