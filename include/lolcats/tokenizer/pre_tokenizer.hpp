// Cuts a text into words, within which tokens are merged.
#pragma once

#include <lolcats/tokenizer/byte_alphabet.hpp>
#include <lolcats/tokenizer/normalizer.hpp>
#include <lolcats/tokenizer/regex.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// GPT-2's words: contractions, letters, numbers, other characters, each with a space in front, and white space, whose
/// last character belongs to the word behind it.  Source: openai/gpt-2, src/encoder.py.
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A sequence of stages, each of which cuts every word of the stage before it.  The stages are those of the
/// `tokenizers` library, with its meaning.
class PreTokenizer {
 public:
  /// What becomes of a match: it goes, is a word of its own, joins a neighbour, or joins neighbouring matches.
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  /// Where metaspace puts its mark in front of a text: always, in front of the first one only, or never.
  enum class Prepend { always, first, never };
  enum class Kind { split, prefix_space, spell_bytes, metaspace };

  struct Stage {
    Kind kind = Kind::split;
    std::optional<TextPattern> pattern = {};  // of split; without one metaspace does not split
    Behavior behavior = Behavior::isolated;
    bool invert = false;  // what does not match is taken for the match
    Prepend prepend = Prepend::never;
    std::string mark = {};  // of metaspace: what spaces become
  };

  void add(Stage stage) { stages_.push_back(std::move(stage)); }
  bool empty() const { return stages_.empty(); }
  const std::vector<Stage>& stages() const { return stages_; }

  /// Calls f(word) for the words of `text`.  `first`: nothing of the whole text is in front of it.
  /// Bytes that are no UTF-8 are words of their own, if there is any stage.
  template <class F>
  void operator()(std::string_view text, bool first, bool valid, Regex::Scratch& scratch, F&& f) const {
    if (stages_.empty()) return f(text);
    if (valid) return run(0, text, first, scratch, f);
    const char* const start = text.data();
    utf8::for_each_stretch(text, [&](std::string_view stretch, bool good) {
      good ? run(0, stretch, first && stretch.data() == start, scratch, f) : f(stretch);
    });
  }

 private:
  template <class F>
  void run(std::size_t index, std::string_view text, bool first, Regex::Scratch& scratch, F& f) const {
    if (index == stages_.size()) {
      if (!text.empty()) f(text);
      return;
    }
    const Stage& stage = stages_[index];
    switch (stage.kind) {
      case Kind::split: return split(index, text, first, scratch, f);
      case Kind::prefix_space: {
        if (text.starts_with(' ')) return run(index + 1, text, first, scratch, f);
        return run(index + 1, " " + std::string(text), first, scratch, f);
      }
      case Kind::spell_bytes: return run(index + 1, byte_alphabet::spell(text), first, scratch, f);
      case Kind::metaspace: {
        std::string marked;
        for (const char c : text) c == ' ' ? marked += stage.mark : marked += c;
        const bool prepends = stage.prepend == Prepend::always || (stage.prepend == Prepend::first && first);
        if (prepends && !marked.starts_with(stage.mark)) marked.insert(0, stage.mark);
        if (stage.pattern) return split(index, marked, first, scratch, f);
        return run(index + 1, marked, first, scratch, f);
      }
    }
  }

  /// A stretch of the text, and whether it matched.
  struct Part {
    std::size_t begin = 0, end = 0;
    bool matched = false;
  };

  template <class F>
  void split(std::size_t index, std::string_view text, bool first, Regex::Scratch& scratch, F& f) const {
    const Stage& stage = stages_[index];
    const auto emit = [&](const Part& part) {
      if (part.end > part.begin)
        run(index + 1, text.substr(part.begin, part.end - part.begin), first && part.begin == 0, scratch, f);
    };
    std::optional<Part> open;  // the word that may still grow
    bool after_match = false;
    const auto take = [&](Part part) {
      part.matched = part.matched != stage.invert;
      const bool joins = open && (stage.behavior == Behavior::contiguous             ? part.matched == after_match
                                  : stage.behavior == Behavior::merged_with_previous ? part.matched && !after_match
                                  : stage.behavior == Behavior::merged_with_next     ? after_match && !part.matched
                                                                                     : false);
      after_match = part.matched;
      if (stage.behavior == Behavior::isolated) return emit(part);
      if (stage.behavior == Behavior::removed) return part.matched ? void() : emit(part);
      if (joins) {
        open->end = part.end;
        return;
      }
      if (open) emit(*open);
      open = part;
    };
    std::size_t done = 0;
    stage.pattern->for_each_match(text, scratch, [&](std::size_t begin, std::size_t end) {
      if (begin > done) take({done, begin, false});
      take({begin, end, true});
      done = end;
    });
    if (done < text.size()) take({done, text.size(), false});
    if (open) emit(*open);
  }

  std::vector<Stage> stages_;
};

}  // namespace lolcats
