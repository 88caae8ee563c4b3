// Text files that hold documents with a line `<|endoftext|>` between them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

inline constexpr std::string_view document_separator = "<|endoftext|>";

/// Text without the white space at its two ends.
inline std::string_view strip(std::string_view text) {
  constexpr std::string_view space = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(space);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

/// The documents of a text, each stripped.  A separator is a line of its own, ended by LF or CR LF; behind one that
/// ends the text no further document is expected.
///
/// `origin` names the source in errors.  Throws DataError for a text without a document and for an empty document.
inline std::vector<std::string> split_documents(std::string_view text, const std::string& origin = "split_documents") {
  require<DataError>(!strip(text).empty(), "{}: the text is empty, expected documents", origin);
  std::vector<std::string> documents;
  std::size_t begin = 0;
  const auto add = [&](std::size_t end) {
    const std::string_view document = strip(text.substr(begin, end - begin));
    require<DataError>(!document.empty(), "{}: document {} is empty", origin, documents.size());
    documents.emplace_back(document);
  };
  for (std::size_t line = 0; line < text.size();) {
    const std::size_t end = std::min(text.find('\n', line), text.size());
    std::string_view content = text.substr(line, end - line);
    if (content.ends_with('\r')) content.remove_suffix(1);
    if (content == document_separator) {
      add(line);
      begin = std::min(end + 1, text.size());
    }
    line = end + 1;
  }
  if (!strip(text.substr(begin)).empty()) add(text.size());
  return documents;
}

/// The documents of a text file.  Throws FileError, or DataError as split_documents does.
inline std::vector<std::string> read_documents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  require<FileError>(file.good(), "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  std::string text;
  try {
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  } catch (const std::ios_base::failure&) {  // libstdc++ throws when a directory is read
    fail<FileError>("{}: cannot be read", path.string());
  }
  return split_documents(text, path.string());
}

/// One text of documents, as split_documents reads it back.
inline std::string join_documents(const std::vector<std::string>& documents) {
  std::string text;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (i > 0) (text += document_separator) += '\n';
    (text += documents[i]) += '\n';
  }
  return text;
}

/// Token ids of each document; `tokenizer` has encode(text, bos).
template <class T>
std::vector<std::vector<Index>> encode_documents(const std::vector<std::string>& documents, const T& tokenizer) {
  std::vector<std::vector<Index>> tokens;
  tokens.reserve(documents.size());
  for (const std::string& document : documents) tokens.push_back(tokenizer.encode(document, true));
  return tokens;
}

}  // namespace lolcats
