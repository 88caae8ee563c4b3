// A real model, SmolLM2-135M-Instruct: its GGUF file and its Hugging Face folder are one model, which says what an
// independent program found.
#include <lolcats/model/load.hpp>

#include "models.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace models;

namespace {

/// $LOLCATS_SMOLLM2 (a folder with the .gguf file and hf/) and $LOLCATS_DATA's numbers, or a word about what is missing.
struct Files {
  std::filesystem::path model, expected;
  bool there = false;

  Files() {
    const char* folder = std::getenv("LOLCATS_SMOLLM2");
    const char* data = std::getenv("LOLCATS_DATA");
    if (!folder || !*folder) {
      MESSAGE("skipped: LOLCATS_SMOLLM2 does not name a folder with SmolLM2-135M-Instruct");
      return;
    }
    model = folder;
    expected = std::filesystem::path(data ? data : "") / "smollm2" / "expected.json";
    there = std::filesystem::exists(expected);
    if (!there) MESSAGE("skipped: LOLCATS_DATA has no smollm2/expected.json");
  }
};

/// The weights rounded to bf16, as the expected numbers want them, in float.
Teacher<float> load_rounded(Checkpoint checkpoint) {
  const auto source = [&](const std::string& name, const Shape& shape) {
    const Tensor<bf16> rounded = checkpoint.weights.read<bf16>(name, shape);
    Tensor<float> wide(shape);
    std::copy(rounded.span().begin(), rounded.span().end(), wide.data());
    return Parameter<Cpu<float>>(std::move(wide));
  };
  Teacher<float> model(checkpoint.config, source, 0, {});
  checkpoint.weights.require_all_read();
  return model;
}

}  // namespace

TEST_CASE("SmolLM2 from GGUF and from its Hugging Face folder is one model, and says what it should") {
  const Files files;
  if (!files.there) return;
  auto model = load_rounded(open_checkpoint(files.model));
  {
    auto other = load_llama<Cpu<float>>(files.model / "hf");
    CHECK(model.config() == other.config());
    const auto ours = model.base_parameters(), theirs = other.base_parameters();
    REQUIRE(ours.size() == 272);
    REQUIRE(theirs.size() == ours.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      CAPTURE(ours[i].name);
      CHECK(ours[i].name == theirs[i].name);
      const auto a = ours[i].parameter->value().span(), b = theirs[i].parameter->value().span();
      const bool same = a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
      CHECK(same);
    }
    const std::vector<Index> tokens = {504, 3575, 282, 4649, 314};
    const Sequences sequences = Sequences::rectangular(1, 5);
    CHECK((logits_of(model, tokens, sequences) == logits_of(other, tokens, sequences)));
  }

  // Each prompt and what greedy decoding adds to it, read at once: every token must follow from those before it.
  std::ifstream text(files.expected);
  const auto expected = nlohmann::json::parse(text);
  REQUIRE(expected.size() >= 3);
  const auto V = static_cast<std::size_t>(model.config().vocab_size);
  for (const auto& prompt : expected) {
    CAPTURE(prompt["prompt"].get<std::string>());
    auto tokens = prompt["ids"].get<std::vector<Index>>();
    const auto greedy = prompt["greedy"].get<std::vector<Index>>();
    const std::size_t length = tokens.size();
    tokens.insert(tokens.end(), greedy.begin(), greedy.end() - 1);
    const auto rows = static_cast<Index>(tokens.size());
    const std::vector<double> logits = logits_of(model, tokens, Sequences::rectangular(1, rows));
    const auto row = [&](std::size_t i) { return logits.begin() + static_cast<std::ptrdiff_t>(i * V); };

    double loss = 0;
    for (std::size_t i = 0; i + 1 < length; ++i) {
      double sum = 0;
      for (std::size_t v = 0; v < V; ++v) sum += std::exp(row(i)[static_cast<std::ptrdiff_t>(v)]);
      loss += std::log(sum) - row(i)[tokens[i + 1]];
    }
    CHECK(loss / static_cast<double>(length - 1) == doctest::Approx(prompt["mean_nll"].get<double>()).epsilon(1e-5));

    std::vector<Index> order(V);
    std::iota(order.begin(), order.end(), Index{0});
    const auto last = row(length - 1);
    std::partial_sort(order.begin(), order.begin() + 5, order.end(),
                      [&](Index a, Index b) { return last[a] > last[b]; });
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(order[i] == prompt["top5"][i][0].get<Index>());
      CHECK(std::abs(last[order[i]] - prompt["top5"][i][1].get<double>()) < 1e-3);
    }
    for (std::size_t i = 0; i < greedy.size(); ++i) {
      CAPTURE(i);
      const auto at = row(length - 1 + i);
      CHECK(std::max_element(at, at + static_cast<std::ptrdiff_t>(V)) - at == greedy[i]);
    }
  }
}
