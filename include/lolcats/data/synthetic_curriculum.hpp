// Short documents first: the order in which a small model learns to recall.
#pragma once

#include <lolcats/core/index.hpp>
#include <lolcats/data/synthetic.hpp>

#include <vector>

namespace lolcats {

/// A part of a training run: its documents, and its share of all training tokens.
struct CurriculumStage {
  SyntheticConfig corpus;
  double share = 0;
};

/// Stages whose shares add up to one; the last has the full corpus `full`.
///
/// In long documents a fact's value is one of dozens, and a model that cannot recall yet gets next to no gradient
/// towards recalling: training can stay on that plateau for tens of millions of tokens.  In a document of 64 tokens
/// copying any value of the context is right one time in four; matching the key grows out of that, and carries over to
/// long documents at once.  Batches should hold equally many tokens in all stages.
inline std::vector<CurriculumStage> recall_curriculum(const SyntheticConfig& full = {}) {
  const auto shorter = [&](Index length, Index shortest, double new_fact) {
    SyntheticConfig config = full;
    config.length = length;
    config.shortest = shortest;
    config.new_fact = new_fact;
    return config;
  };
  return {{shorter(64, 4, 0.2), 0.25},
          {shorter(128, 6, 0.25), 0.25},
          {shorter(256, full.shortest, full.new_fact), 0.1},
          {full, 0.4}};
}

}  // namespace lolcats
