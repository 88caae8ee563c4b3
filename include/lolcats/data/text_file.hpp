// Text files as people have them: which kind one is, and where each of its records lies.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace lolcats {

namespace detail {

/// Tells the system that these bytes will not be read soon.  They must be of a mapped file: reading its pages again
/// brings them back, those of other memory would be lost.  Whole pages only.
inline void forget_pages(std::string_view bytes) {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace detail

inline constexpr std::string_view document_separator = "<|endoftext|>";
inline constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

/// Text without the white space at its two ends.
inline std::string_view strip(std::string_view text) {
  constexpr std::string_view space = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(space);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

/// The same without byte order marks in front, as they stand there where files were joined.
inline std::string_view strip_document(std::string_view text) {
  text = strip(text);
  while (text.starts_with(byte_order_mark)) text = strip(text.substr(byte_order_mark.size()));
  return text;
}

/// A text with LF where it had CR LF.
inline std::string with_line_feeds(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find("\r\n", at), text.size());
    result += text.substr(at, end - at);
    at = end < text.size() ? end + 1 : end;  // the LF is taken with what follows
  }
  return result;
}

/// How records lie in a file.
enum class TextKind {
  Documents,  // plain text, a line <|endoftext|> between documents
  Lines,      // plain text, each line that is not blank a document
  JsonLines,  // each line that is not blank a JSON object
  JsonArray,  // one JSON array of objects
};

/// Throws FormatError for what is no text in UTF-8: a Git LFS pointer, UTF-16, files that are compressed or of a
/// database.
inline void require_text(std::string_view bytes, const std::string& name) {
  using namespace std::string_view_literals;
  require<FormatError>(!bytes.starts_with("version https://git-lfs.github.com/spec/"),
                       "{}: is a Git LFS pointer, not the file itself: fetch it with 'git lfs pull'", name);
  constexpr std::array<std::pair<std::string_view, const char*>, 8> others{
      {{"\xff\xfe"sv, "UTF-16"},
       {"\xfe\xff"sv, "UTF-16"},
       {"\x1f\x8b"sv, "compressed by gzip"},
       {"\x28\xb5\x2f\xfd"sv, "compressed by zstd"},
       {"\xfd"
        "7zXZ"sv,
        "compressed by xz"},
       {"BZh"sv, "compressed by bzip2"},
       {"PK\x03\x04"sv, "a zip archive"},
       {"PAR1"sv, "Parquet"}}};
  for (const auto& [mark, what] : others)
    require<FormatError>(!bytes.starts_with(mark),
                         "{}: is {}, expected plain text, JSON lines or a JSON array in UTF-8", name, what);
}

/// Told by the extension, and for .json, .jsonl and .ndjson by the first character; any other file is plain text.
/// Throws FormatError for json that begins neither with an array nor with an object.
inline TextKind kind_of_text(const std::filesystem::path& path, std::string_view text, bool line_documents = false) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (extension != ".json" && extension != ".jsonl" && extension != ".ndjson")
    return line_documents ? TextKind::Lines : TextKind::Documents;
  const std::string_view content = strip_document(text.substr(0, 4096));
  require<FormatError>(content.starts_with('[') || content.starts_with('{'),
                       "{}: begins with '{}', expected '[' (an array of records) or '{{' (a record a line)",
                       path.string(), content.substr(0, 1));
  return content[0] == '[' ? TextKind::JsonArray : TextKind::JsonLines;
}

/// A record as it lies in its file.
struct RawRecord {
  std::string_view bytes;
  Index line = 0;  // where it begins, from 1
};

/// Finds the records of a text one after the other.  Documents come stripped of white space and byte order marks.
class RecordReader {
 public:
  /// `origin` names the source in errors.  `text` must live as long as the records.  `mapped`: it is a mapped file, and
  /// what was read of a long document may leave the memory until it is wanted again.
  RecordReader(std::string_view text, TextKind kind, std::string origin, bool mapped = false)
      : text_(text), kind_(kind), origin_(std::move(origin)), mapped_(mapped) {
    if (text_.starts_with(byte_order_mark)) at_ = byte_order_mark.size();
  }

  /// The next record, or none.  Throws DataError for an empty document between separators and for a text without any
  /// record, FormatError for what is not an array of objects.
  std::optional<RawRecord> next() {
    std::optional<RawRecord> record = kind_ == TextKind::Documents   ? next_document()
                                      : kind_ == TextKind::JsonArray ? next_element()
                                                                     : next_line();
    require<DataError>(record || count_ > 0, "{}: the text is empty, expected documents", origin_);
    ++count_;
    return record;
  }

  /// Bytes that have been passed.
  std::size_t position() const { return std::min(at_, text_.size()); }

 private:
  /// The line at at_, without its end; goes on to the next.
  std::string_view take_line() {
    const std::size_t end = std::min(text_.find('\n', at_), text_.size());
    std::string_view line = text_.substr(at_, end - at_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    at_ = end + 1;
    ++line_;
    return line;
  }

  std::optional<RawRecord> next_line() {
    while (at_ < text_.size()) {
      const Index line = line_;
      const std::string_view content = strip_document(take_line());
      if (!content.empty()) return RawRecord{content, line};
    }
    return {};
  }

  std::optional<RawRecord> next_document() {
    const std::size_t begin = at_;
    const Index first = line_;
    bool separated = false;
    constexpr std::size_t long_document = std::size_t{1} << 24;
    std::size_t end = begin, forgotten = begin;
    while (at_ < text_.size() && !separated) {
      if (mapped_ && at_ - forgotten > long_document) {
        detail::forget_pages(text_.substr(forgotten, at_ - forgotten));
        forgotten = at_;
      }
      end = at_;
      separated = is_separator(take_line());
      if (!separated) end = std::min(at_, text_.size());
    }
    if (begin >= text_.size()) return {};
    const std::string_view whole = text_.substr(begin, end - begin), document = strip_document(whole);
    if (document.empty() && !separated) return {};
    require<DataError>(!document.empty(), "{}: document {} is empty (line {})", origin_, count_, first);
    const std::string_view before = whole.substr(0, static_cast<std::size_t>(document.data() - whole.data()));
    return RawRecord{document, first + static_cast<Index>(std::count(before.begin(), before.end(), '\n'))};
  }

  /// Whether a line, without its end, divides documents.  Another file may have begun with it: then a mark hides it.
  static bool is_separator(std::string_view line) {
    if (line.starts_with(byte_order_mark)) line.remove_prefix(byte_order_mark.size());
    return line == document_separator;
  }

  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n'))
      line_ += text_[at_++] == '\n';
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  [[noreturn]] void wrong(const char* expected) const {
    fail<FormatError>("{}:{}: expected {}, got {}", origin_, line_, expected,
                      at_ < text_.size() ? fmt::format("'{}'", text_.substr(at_, 1)) : "the end of the file");
  }

  std::optional<RawRecord> next_element() {
    if (count_ == 0) {
      if (peek() != '[') wrong("'[', an array of records");
      ++at_;
      require<DataError>(peek() != ']', "{}: the array is empty, expected records", origin_);
    } else {
      if (done_) return {};
      const char c = peek();
      if (c != ',' && c != ']') wrong("',' or ']' behind a record");
      ++at_;
      if (c == ']') {
        done_ = true;
        if (peek() != '\0' || at_ < text_.size()) wrong("nothing behind the array");
        return {};
      }
    }
    if (peek() != '{') wrong("'{', a record");
    const std::size_t from = at_;
    const Index line = line_;
    int depth = 0;
    do {
      if (at_ >= text_.size()) fail<FormatError>("{}:{}: the record has no end", origin_, line);
      const char c = text_[at_];
      if (c == '"') {
        skip_string();
        continue;
      }
      line_ += c == '\n';
      depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
      ++at_;
    } while (depth > 0);
    return RawRecord{text_.substr(from, at_ - from), line};
  }

  void skip_string() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      line_ += text_[at_] == '\n';
      at_ += text_[at_] == '\\';
    }
    ++at_;
  }

  std::string_view text_;
  TextKind kind_;
  std::string origin_;
  bool mapped_;
  std::size_t at_ = 0;
  Index line_ = 1;
  Index count_ = 0;    // of records
  bool done_ = false;  // an array has ended
};

}  // namespace lolcats
