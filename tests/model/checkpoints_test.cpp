// Checkpoints written by transformers and peft, with the logits that those give.
#include <lolcats/model/linearized.hpp>
#include <lolcats/model/merge_adapter.hpp>

#include "any_adapter.hpp"

#include <lolcats/testing/close.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

using namespace models;
using lolcats::testing::close;

namespace {

/// $LOLCATS_CHECKPOINTS, or the folder huggingface of $LOLCATS_DATA; empty if neither is set.
std::filesystem::path checkpoints() {
  if (const char* folder = std::getenv("LOLCATS_CHECKPOINTS")) return folder;
  if (const char* data = std::getenv("LOLCATS_DATA")) return std::filesystem::path(data) / "huggingface";
  return {};
}

/// Adapters that are also those of a type that these tests know.
template <class T, class F>
void with_type(const PeftAdapter& adapter, F&& f) {
  if (adapter.rank == 4 && adapter.alpha == 8 && adapter.targets.size() == 4 && !adapter.rslora)
    f.template operator()<Control<T>>();
}

template <class T>
void check(const std::filesystem::path& folder) {
  const Safetensors expected(folder / "expected.safetensors");
  const auto ids = expected.read<std::int64_t>("ids");  // (N, T)
  const std::vector<Index> tokens(ids.span().begin(), ids.span().end());
  const Sequences sequences = Sequences::rectangular(ids.shape()[0], ids.shape()[1]);
  auto model = load_llama<Cpu<T>>(folder);
  CHECK(close(expected.read<double>("logits"), logits_of(model, tokens, sequences), 1e-4));

  if (!expected.contains("adapter_logits")) return;
  const PeftAdapter adapter = read_peft(folder / "adapter");
  const auto want = expected.read<double>("adapter_logits");
  CHECK_FALSE(close(want, expected.read<double>("logits"), 1e-2));  // the adapter matters
  auto merged = model;
  merge_adapter(merged, adapter);
  CHECK(close(want, logits_of(merged, tokens, sequences), 1e-4));
  CHECK(close(expected.read<double>("logits"), logits_of(model, tokens, sequences), 1e-4));

  auto unmerged = beside<T>(model, adapter);
  CHECK(close(want, logits_of(unmerged, tokens, sequences), 1e-4));

  with_type<T>(adapter, [&]<class Model>() {
    auto tuned = convert<Model>(model);
    load_adapter(tuned, folder / "adapter");
    CHECK(close(want, logits_of(tuned, tokens, sequences), 1e-4));
    tuned.merge_adapters();
    CHECK(close(want, logits_of(tuned, tokens, sequences), 1e-4));
    tuned.unmerge_adapters();
    tuned.use_adapters(false);
    CHECK(close(expected.read<double>("logits"), logits_of(tuned, tokens, sequences), 1e-4));
  });
}

}  // namespace

TEST_CASE("checkpoints of transformers and peft are reproduced") {
  const std::filesystem::path root = checkpoints();
  if (root.empty() || !std::filesystem::is_directory(root)) {
    MESSAGE("skipped: neither LOLCATS_CHECKPOINTS nor LOLCATS_DATA names a folder of checkpoints");
    return;
  }
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!std::filesystem::exists(entry.path() / "expected.safetensors")) continue;
    CAPTURE(entry.path().filename().string());
    check<double>(entry.path());
    check<float>(entry.path());
    ++count;
  }
  CHECK_MESSAGE(count > 0, "no folder with config.json and expected.safetensors in ", root.string());
}
