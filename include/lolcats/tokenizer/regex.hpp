// Regular expressions of tokenizers, by PCRE2.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/tokenizer/regex_syntax.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#ifdef LOLCATS_WITH_PCRE2
#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>
#endif

namespace lolcats {

#ifdef LOLCATS_WITH_PCRE2

/// A regular expression over UTF-8, as the `tokenizers` library (Oniguruma) and `tiktoken` read it.
///
/// A const object may be used by several
/// threads, each with a Scratch of its own.
class Regex {
  template <auto Free>
  struct Freed {
    template <class T>
    void operator()(T* pointer) const {
      Free(pointer);
    }
  };

 public:
  /// What a search needs besides the expression; serves any expression.
  class Scratch {
   public:
    Scratch()
        : data_(pcre2_match_data_create_8(1, nullptr)),
          context_(pcre2_match_context_create_8(nullptr)),
          stack_(pcre2_jit_stack_create_8(32 * 1024, 64 * 1024 * 1024, nullptr)) {
      require<Error>(data_ && context_, "Regex: out of memory");
      pcre2_jit_stack_assign_8(context_.get(), nullptr, stack_.get());
    }

   private:
    friend Regex;
    std::unique_ptr<pcre2_match_data_8, Freed<pcre2_match_data_free_8>> data_;
    std::unique_ptr<pcre2_match_context_8, Freed<pcre2_match_context_free_8>> context_;
    std::unique_ptr<pcre2_jit_stack_8, Freed<pcre2_jit_stack_free_8>> stack_;
  };

  /// `origin` names the source in errors.  Throws ConfigError for expressions that are wrong or that PCRE2 would read
  /// otherwise than the original.
  Regex(std::string_view pattern, const std::string& origin) : pattern_(pattern), origin_(origin) {
    const std::string plain = pcre2_syntax(pattern, origin, false), with_new = pcre2_syntax(pattern, origin, true);
    plain_ = compile(plain);
    if (with_new != plain) with_new_ = compile(with_new);
  }

  const std::string& pattern() const { return pattern_; }

  /// Calls f(begin, end) for the matches in `text`, which must be valid UTF-8, from left to right; a match may be empty,
  /// but not right behind another.  Throws DataError where a search takes steps out of proportion to the text.
  template <class F>
  void for_each_match(std::string_view text, Scratch& scratch, F&& f) const {
    const std::uint64_t limit = 10'000'000 + 64 * std::uint64_t{text.size()};
    pcre2_set_match_limit_8(scratch.context_.get(),
                            static_cast<std::uint32_t>(limit < UINT32_MAX ? limit : UINT32_MAX));
    const auto subject = reinterpret_cast<PCRE2_SPTR8>(text.data());
    const PCRE2_SIZE* const found = pcre2_get_ovector_pointer_8(scratch.data_.get());
    const Code& code = with_new_.code && detail::has_new_characters(text) ? with_new_ : plain_;
    std::size_t last_end = nowhere;
    for (std::size_t at = 0; at <= text.size();) {
      int result = code.jit ? pcre2_jit_match_8(code.code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                                scratch.data_.get(), scratch.context_.get())
                            : PCRE2_ERROR_JIT_STACKLIMIT;
      if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
        result = pcre2_match_8(code.code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                               scratch.data_.get(), scratch.context_.get());
      }
      if (result == PCRE2_ERROR_NOMATCH) return;
      if (result < 0) {
        unsigned char message[256] = {};
        pcre2_get_error_message_8(result, message, sizeof message);
        fail<DataError>("{}: the regular expression '{}' gives up at byte {} of a text of {}: {}", origin_,
                        shown_pattern(pattern_), at, text.size(), reinterpret_cast<const char*>(message));
      }
      const std::size_t begin = found[0], end = found[1];
      if (end == begin && end == last_end) {  // go on behind the next character
        if (at == text.size()) return;
        at += utf8::at(text, at).length;
        continue;
      }
      f(begin, end);
      at = last_end = end;
    }
  }

 private:
  static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

  struct Code {
    std::unique_ptr<pcre2_code_8, Freed<pcre2_code_free_8>> code;
    bool jit = false;  // without it searches are slower, not other
  };

  Code compile(const std::string& translated) const {
    const std::unique_ptr<pcre2_compile_context_8, Freed<pcre2_compile_context_free_8>> context(
        pcre2_compile_context_create_8(nullptr));
    require<Error>(context != nullptr, "Regex: out of memory");
    pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit_8(context.get(), 100);
    int error = 0;
    PCRE2_SIZE offset = 0;
    Code result;
    result.code.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(translated.data()), translated.size(),
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                      &offset, context.get()));
    if (!result.code) {
      unsigned char message[256] = {};
      pcre2_get_error_message_8(error, message, sizeof message);
      fail<ConfigError>("{}: the regular expression '{}' is refused by PCRE2: {}", origin_, shown_pattern(pattern_),
                        reinterpret_cast<const char*>(message));
    }
    result.jit = pcre2_jit_compile_8(result.code.get(), PCRE2_JIT_COMPLETE) == 0;
    return result;
  }

  std::string pattern_, origin_;
  Code plain_, with_new_;  // for texts without and with characters that are newer than PCRE2's tables may be
};

#else

class Regex {
 public:
  class Scratch {};

  Regex(std::string_view, const std::string& origin) {
    fail<ConfigError>("{}: its regular expressions need PCRE2, which this build was made without", origin);
  }
  const std::string& pattern() const { return pattern_; }
  template <class F>
  void for_each_match(std::string_view, Scratch&, F&&) const {}

 private:
  std::string pattern_;
};

#endif

}  // namespace lolcats
