// The text that our programs train and evaluate on: the synthetic corpus, or files.
#pragma once

#include <lolcats/data/dataset.hpp>
#include <lolcats/data/open_text.hpp>
#include <lolcats/data/packing.hpp>
#include <lolcats/data/synthetic.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace examples {

using lolcats::Index;

/// The teacher that comes with the sources, and its tokenizer.
inline std::filesystem::path built_in_teacher() { return std::filesystem::path(LOLCATS_SOURCE_DIR) / "examples" / "teacher"; }
inline std::filesystem::path built_in_tokenizer() { return built_in_teacher() / "tokenizer.bin"; }

/// Documents of the synthetic corpus.  Seeds name corpora: one to pretrain on, one to linearize on, one to validate on.
enum class SyntheticSeed : std::uint64_t { pretrain = 1, train = 2, validation = 3 };

inline std::vector<lolcats::SyntheticDocument> synthetic_documents(const lolcats::SyntheticCorpus& corpus, SyntheticSeed seed,
                                                                   Index first, Index count) {
  std::vector<lolcats::SyntheticDocument> documents;
  for (Index i = 0; i < count; ++i) {
    documents.push_back(corpus.document(static_cast<std::uint64_t>(seed), static_cast<std::uint64_t>(first + i)));
  }
  return documents;
}

/// One row for each document.
inline lolcats::DataSet synthetic_rows(const std::vector<lolcats::SyntheticDocument>& documents) {
  std::vector<lolcats::Row> rows;
  for (const auto& document : documents) rows.push_back({document.tokens, document.tokens, {0}});
  return lolcats::DataSet(std::move(rows));
}

/// Synthetic text to train and to validate on.
struct SyntheticText {
  lolcats::DataSet train, valid;
  std::vector<lolcats::SyntheticDocument> documents;  // of `valid`
};
inline SyntheticText synthetic_text(const lolcats::SyntheticConfig& config, Index train_documents, Index valid_documents) {
  const lolcats::SyntheticCorpus corpus(config);
  auto documents = synthetic_documents(corpus, SyntheticSeed::validation, 0, valid_documents);
  auto train = synthetic_rows(synthetic_documents(corpus, SyntheticSeed::train, 0, train_documents));
  return {std::move(train), synthetic_rows(documents), std::move(documents)};
}

/// The mean entropy per predicted token in nats: no model can have a smaller mean loss.
inline double synthetic_entropy(const std::vector<lolcats::SyntheticDocument>& documents) {
  double sum = 0;
  Index count = 0;
  for (const auto& document : documents) {
    for (std::size_t i = 1; i < document.entropy.size(); ++i, ++count) sum += document.entropy[i];
  }
  return sum / static_cast<double>(count);
}

/// In the words of states and checkpoints.
inline std::string tokenizer_fingerprint(const lolcats::Tokenizer& tokenizer) { return fmt::format("{:016x}", tokenizer.fingerprint()); }

/// The rows of a text file; see lolcats::open_text.
inline lolcats::DataSet text_rows(const std::filesystem::path& file, const lolcats::Tokenizer& tokenizer, Index length) {
  return lolcats::open_text({file}, tokenizer, {.length = length});
}

}  // namespace examples
