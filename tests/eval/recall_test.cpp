#include "../train/tiny_llama.hpp"

#include <lolcats/eval/recall.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace lolcats;

TEST_CASE("recall_by_distance: counts against whole logits") {
  const SyntheticCorpus corpus({.length = 120, .shortest = 5, .longest = 80});
  auto config = tiny::config(1);
  config.vocab_size = corpus.vocabulary().size();
  config.tied_embeddings = true;  // a model that likes to repeat is right now and then
  auto model = random_llama<tiny::Teacher>(config, 1, 0.5);
  std::vector<SyntheticDocument> documents;
  for (std::uint64_t i = 0; i < 9; ++i) documents.push_back(corpus.document(3, i));

  const std::vector<Index> edges = {5, 10, 40};
  std::vector<Index> correct(3), total(3);
  for (const SyntheticDocument& document : documents) {
    const Sequences sequences = Sequences::rectangular(1, static_cast<Index>(document.tokens.size()));
    Tape<Cpu<double>> tape;
    const auto logits = model.logits(tape, document.tokens, sequences).value();
    for (std::size_t i = 1; i < document.tokens.size(); ++i) {
      const Index distance = document.distance[i];
      if (distance == 0) continue;
      const std::size_t bin = distance >= 40 ? 2 : distance >= 10 ? 1 : 0;
      const double* row = logits.data + static_cast<Index>(i - 1) * logits.cols();
      ++total[bin];
      correct[bin] += std::max_element(row, row + logits.cols()) - row == document.tokens[i];
    }
  }
  for (const Index rows : {1, 4}) {
    const Recall recall = recall_by_distance(model, documents, edges, rows);
    REQUIRE(recall.bins.size() == 3);
    for (std::size_t b = 0; b < 3; ++b) {
      CHECK(recall.bins[b].total == total[b]);
      CHECK(recall.bins[b].correct == correct[b]);
      CHECK(recall.bins[b].first == edges[b]);
    }
    CHECK(recall.bins[0].last == 9);
    CHECK(recall.total() == total[0] + total[1] + total[2]);
    CHECK(recall.total() > 30);
    CHECK(recall.accuracy() == doctest::Approx(static_cast<double>(correct[0] + correct[1] + correct[2]) /
                                               static_cast<double>(recall.total())));
  }
  CHECK_THROWS_AS(recall_by_distance(model, documents, {5, 5}), ConfigError);
  CHECK_THROWS_AS(recall_by_distance(model, documents, {}), ConfigError);
}

TEST_CASE("recall_by_distance: a model that knows the answers recalls all of them") {
  // Weights that make the next token a function of this one, on documents made of a cycle.
  auto config = tiny::config(1);
  config.vocab_size = 16;
  auto model = random_llama<tiny::Teacher>(config, 1, 0.0);  // layers add nothing
  for (const auto& [name, parameter] : model.base_parameters()) {
    if (name != "model.embed_tokens.weight" && name != "lm_head.weight") continue;
    parameter->own(model.backend());
    const Index shift = name == "lm_head.weight" ? 1 : 0;  // the head of token t + 1 is the embedding of t
    for (Index t = 0; t < 16; ++t) parameter->mutable_value().data[((t + shift) % 16) * 16 + t] = 1;
  }
  SyntheticDocument document;
  for (Index i = 0; i < 40; ++i) {
    document.tokens.push_back(i % 16);
    document.distance.push_back(i < 16 ? 0 : 16);
  }
  document.tokens[20] = 3;  // breaks the chain twice: the 3 itself, and what follows it
  const std::vector<SyntheticDocument> documents = {document};
  const Recall recall = recall_by_distance(model, documents);
  CHECK(recall.total() == 24);
  CHECK(recall.bins[0].total == 24);
  CHECK(recall.bins[0].correct == 22);

  // A first token that is said to repeat another: nothing stands before it, the document in front of it least of all.
  document.distance[0] = 16;
  const Recall twice = recall_by_distance(model, std::vector<SyntheticDocument>{documents[0], document});
  CHECK(twice.total() == 48);
  CHECK(twice.bins[0].correct == 44);
}
