// Text files that hold documents with a line `<|endoftext|>` between them.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/data/text_file.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/tokenizer.hpp>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// The documents of a text, each stripped, with LF at the ends of its lines.  A separator is a line of its own; behind
/// one that ends the text no further document is expected.  Byte order marks in front of documents are none of theirs.
///
/// `origin` names the source in errors.  Throws DataError for a text without a document and for an empty document.
inline std::vector<std::string> split_documents(std::string_view text, const std::string& origin = "split_documents") {
  std::vector<std::string> documents;
  RecordReader reader(text, TextKind::Documents, origin);
  while (const auto record = reader.next()) documents.push_back(with_line_feeds(record->bytes));
  return documents;
}

/// The documents of a text file.  Throws FileError, FormatError for what is no text, or DataError as split_documents
/// does.
inline std::vector<std::string> read_documents(const std::filesystem::path& path) {
  const MappedFile file(path);
  require_text(file.text(), file.name());
  return split_documents(file.text(), file.name());
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

/// Token ids of each document, with BOS in front where the tokenizer says so.
inline std::vector<std::vector<Index>> encode_documents(const std::vector<std::string>& documents,
                                                        const Tokenizer& tokenizer) {
  std::vector<std::vector<Index>> tokens;
  tokens.reserve(documents.size());
  for (const std::string& document : documents) tokens.push_back(tokenizer.encode(document, tokenizer.adds_bos()));
  return tokens;
}

}  // namespace lolcats
