// What each head's cache is worth: how far predictions move when one key/value head alone has none.
#pragma once

#include <lolcats/eval/layer_sensitivity.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace lolcats {

/// All key/value heads, one by one.
struct HeadSensitivity {
  Index places = 0;  // the most that a head's cache holds
  Swapped student;   // all heads have that
  std::vector<std::vector<Swapped>> alone;  // (L, G) this head has no cache, all others have that
};

struct HeadSensitivityOptions {
  Index rows = 8;  // sequences at once
  std::function<void(Index read, Index all)> progress = {};  // sequences
};

namespace detail {

/// Sizes of all caches, as they were before when this goes.
template <class Model>
class CacheSizes {
 public:
  explicit CacheSizes(Model& model) : model_(model) {
    for (Index l = 0; l < model.layer_count(); ++l) before_.push_back(model.layer(l).attention().cache_sizes(model.backend()));
  }
  CacheSizes(const CacheSizes&) = delete;
  CacheSizes& operator=(const CacheSizes&) = delete;
  ~CacheSizes() {
    for (Index l = 0; l < model_.layer_count(); ++l) set(l, before_[static_cast<std::size_t>(l)]);
  }
  void set(Index layer, const std::vector<Index>& sizes) { model_.layer(layer).attention().set_cache_sizes(model_.backend(), sizes); }

 private:
  Model& model_;
  std::vector<std::vector<Index>> before_;
};

}  // namespace detail

/// How far the predictions of a student with caches are from its softmax teacher's when one key/value head alone has no cache
/// and all others are as large as the type says, for every head; on rows whose labels ask for what was said far behind
/// (data/planted_facts.hpp), that says which heads recall.  Adapters are off; the student's own sizes do not count and stay.
///
/// The layers below are run once and their outputs kept (L streams of (M, C)), so all heads cost G L (L + 1) / 2 layers, as much
/// as G (L + 1) / 2 passes of the model, and L G + 1 times its head on both sides.
/// Errors: DataError if no token is supervised, NumericError naming layer and head.
template <LlamaModel Model, class Data>
  requires caches<MemoryOf<typename Model::Attention>>
HeadSensitivity head_sensitivity(Model& student, const Data& data, const HeadSensitivityOptions& options = {}) {
  using B = typename Model::Device;
  require<ConfigError>(options.rows > 0, "head_sensitivity: rows is {}, expected at least 1", options.rows);
  const Index layers = student.layer_count(), heads = student.config().kv_heads;
  HeadSensitivity all;
  all.places = MemoryOf<typename Model::Attention>::Cache::size;
  all.alone.assign(static_cast<std::size_t>(layers), std::vector<Swapped>(static_cast<std::size_t>(heads)));
  const std::vector<Index> full(static_cast<std::size_t>(heads), all.places);
  detail::CacheSizes<Model> sizes(student);
  for (Index layer = 0; layer < layers; ++layer) sizes.set(layer, full);
  const detail::WithoutAdapters<Model> base(student);
  Tape<B> tape(student.backend());
  const typename Tape<B>::NoGradient quiet(tape);
  Index tokens = 0;
  const auto size = static_cast<Index>(data.size());
  for (Index first = 0; first < size; first += options.rows) {
    std::vector<Index> group(static_cast<std::size_t>(std::min(options.rows, size - first)));
    std::iota(group.begin(), group.end(), first);
    const Batch batch = data.batch(std::span<const Index>(group));
    tokens += batch.supervised();
    detail::SwappedPasses<Model> passes(student, tape, batch);
    passes.set_teacher(passes.finish(0, passes.start(), true));
    std::vector<Array<B>> inputs;
    inputs.push_back(passes.start());
    for (Index layer = 0; layer < layers; ++layer) inputs.push_back(passes.advance(layer, inputs.back(), false));
    passes.add(inputs.back(), all.student);
    for (Index layer = layers - 1; layer >= 0; --layer) {
      const auto at = static_cast<std::size_t>(layer);
      inputs.pop_back();
      for (std::size_t head = 0; head < full.size(); ++head) {
        std::vector<Index> without = full;
        without[head] = 0;
        sizes.set(layer, without);
        Array<B> x = passes.advance(layer, inputs.back(), false);
        sizes.set(layer, full);
        passes.add(passes.finish(layer + 1, std::move(x), false), all.alone[at][head]);
      }
    }
    if (options.progress) options.progress(std::min(size, first + options.rows), size);
  }
  require<DataError>(tokens > 0, "head_sensitivity: no token of the data is supervised");
  const auto average = [&](Swapped& x, const std::string& what) {
    require<NumericError>(std::isfinite(x.loss) && std::isfinite(x.divergence), "head_sensitivity: the loss {} is {}, the divergence {}", what,
                          x.loss, x.divergence);
    x.loss /= static_cast<double>(tokens);
    x.divergence /= static_cast<double>(tokens);
  };
  average(all.student, "with all caches");
  for (std::size_t l = 0; l < all.alone.size(); ++l) {
    for (std::size_t g = 0; g < full.size(); ++g) average(all.alone[l][g], fmt::format("without the cache of layer {}, head {}", l, g));
  }
  return all;
}

/// Sizes (L, G) of caches with at most `mean` places per head on average: the heads whose cache matters most get the most that the
/// type holds, all others `rest` places, and what is left over widens those.  Sizes are rounded down to 8 significant bits,
/// which every backend holds.  Throws ConfigError for numbers that do not fit: 0 <= rest <= mean <= the most.
inline std::vector<std::vector<Index>> allot_cache(const HeadSensitivity& sensitivity, Index mean, Index rest) {
  const Index most = sensitivity.places;
  require<ConfigError>(rest >= 0 && rest <= mean && mean <= most,
                       "allot_cache: {} places per head and {} for the rest, expected 0 <= rest <= mean <= {}, the most that a head holds",
                       mean, rest, most);
  std::vector<std::pair<std::size_t, std::size_t>> order;
  for (std::size_t l = 0; l < sensitivity.alone.size(); ++l) {
    for (std::size_t g = 0; g < sensitivity.alone[l].size(); ++g) order.emplace_back(l, g);
  }
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](const auto& at) { return sensitivity.alone[at.first][at.second].divergence; });
  const auto heads = static_cast<Index>(order.size());
  const Index full = most == rest ? heads : heads * (mean - rest) / (most - rest);
  Index others = full < heads ? (heads * mean - full * most) / (heads - full) : 0;
  for (Index step = 1; others / step >= 256; step *= 2) others -= others % (2 * step);
  std::vector<std::vector<Index>> sizes;
  for (const auto& layer : sensitivity.alone) sizes.emplace_back(layer.size(), others);
  for (std::size_t i = 0; i < static_cast<std::size_t>(full); ++i) sizes[order[i].first][order[i].second] = most;
  return sizes;
}

}  // namespace lolcats
