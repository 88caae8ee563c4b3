// What each head's cache is worth: how far predictions move when one key/value head alone has less.
#pragma once

#include <lolcats/eval/layer_sensitivity.hpp>
#include <lolcats/model/cache_sizes.hpp>

#include <functional>
#include <utility>
#include <vector>

namespace lolcats {

/// All key/value heads, one by one.
struct HeadSensitivity {
  Swapped student;                          // with the sizes that all start from
  std::vector<std::vector<Swapped>> alone;  // (L, G) when this head alone has less
};

struct HeadSensitivityOptions {
  Index rows = 8;        // sequences at once
  CacheSizes from = {};  // of all heads; empty: the most that the student's type says
  Index less = 0;        // places of the one head
  std::function<void(Index read, Index all)> progress = {};  // sequences
};

/// How far the predictions of a student with caches are from its softmax teacher's when the cache of one key/value head alone is
/// as small as `less`, for every head that has more; on rows whose labels ask for what was said far behind
/// (data/planted_facts.hpp), that says which heads recall.  Adapters are off; the student's own sizes do not count and stay.
///
/// The layers below are run once and their outputs kept (L streams of (M, C)), so all heads cost at most G L (L + 1) / 2 layers, as
/// much as G (L + 1) / 2 passes of the model, and L G + 1 times its head on both sides.
/// Errors: DataError if no token is supervised, ShapeError or ConfigError for sizes that do not fit, NumericError naming layer and head.
template <LlamaModel Model, class Data>
  requires caches<MemoryOf<typename Model::Attention>>
HeadSensitivity head_sensitivity(Model& student, const Data& data, const HeadSensitivityOptions& options = {}) {
  using B = typename Model::Device;
  constexpr const char* function = "head_sensitivity";
  const Index layers = student.layer_count(), heads = student.config().kv_heads;
  CacheSizes from = options.from;
  if (from.empty()) from.assign(static_cast<std::size_t>(layers), std::vector<Index>(static_cast<std::size_t>(heads), cache_places<typename Model::Attention>));
  require<ShapeError>(static_cast<Index>(from.size()) == layers, "head_sensitivity: sizes of {} layers, expected {}", from.size(), layers);
  detail::ResizedCaches<Model> sizes(student);
  for (Index layer = 0; layer < layers; ++layer) sizes.set(layer, from[static_cast<std::size_t>(layer)]);
  HeadSensitivity all;
  all.alone.assign(from.size(), std::vector<Swapped>(static_cast<std::size_t>(heads)));
  const Index tokens = detail::for_swapped_passes(function, student, data, options.rows, options.progress, [&](auto& passes) {
    passes.set_teacher(passes.finish(0, passes.start(), true));
    std::vector<Array<B>> inputs;
    inputs.push_back(passes.start());
    for (Index layer = 0; layer < layers; ++layer) inputs.push_back(passes.advance(layer, inputs.back(), false));
    passes.add(inputs.back(), all.student);
    for (Index layer = layers - 1; layer >= 0; --layer) {
      const auto at = static_cast<std::size_t>(layer);
      inputs.pop_back();
      for (std::size_t head = 0; head < from[at].size(); ++head) {
        if (from[at][head] <= options.less) continue;
        std::vector<Index> fewer = from[at];
        fewer[head] = options.less;
        sizes.set(layer, fewer);
        Array<B> x = passes.advance(layer, inputs.back(), false);
        sizes.set(layer, from[at]);
        passes.add(passes.finish(layer + 1, std::move(x), false), all.alone[at][head]);
      }
    }
  });
  detail::average(all.student, tokens, function, "with all caches");
  for (std::size_t l = 0; l < from.size(); ++l) {
    for (std::size_t g = 0; g < from[l].size(); ++g) {
      Swapped& alone = all.alone[l][g];
      if (from[l][g] > options.less) detail::average(alone, tokens, function, fmt::format("with a smaller cache of layer {}, head {}", l, g));
      else alone = all.student;  // nothing is changed
    }
  }
  return all;
}

}  // namespace lolcats
