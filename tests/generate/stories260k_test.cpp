// A real checkpoint, from its file to perplexity and text: stories260K of karpathy/tinyllamas, where LOLCATS_DATA has it.
#include <lolcats/data/dataset.hpp>
#include <lolcats/data/documents.hpp>
#include <lolcats/data/packing.hpp>
#include <lolcats/eval/perplexity.hpp>
#include <lolcats/generate/generate.hpp>
#include <lolcats/model/cpu.hpp>
#include <lolcats/model/load.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

using namespace lolcats;

TEST_CASE("stories260K has the perplexity and tells the story that it should") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const std::filesystem::path data = root;
  auto model = load_llama<Cpu<float>>(data / "stories260K" / "stories260K.bin");
  const auto tokenizer = read_llama2c_tokenizer(data / "stories260K" / "tok512.bin", model.config().vocab_size);

  // Greedy, from BOS.  The continuation that a float64 implementation gives.
  const auto generation = generate(model, {{*tokenizer.bos()}}, {.max_tokens = 80});
  const std::string text = tokenizer.decode(generation.tokens[0]);
  CHECK(text.find("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
                  "she saw a big, red ball. She wanted to play with it, but it was too high.") <= 1);

  // exp of the mean loss over rows of 512 tokens; 3.6505 in float64.
  const DataSet rows(concatenate(encode_documents(read_documents(data / "tinystories" / "valid.txt"), tokenizer), 512));
  CHECK(perplexity(model, rows, 8).perplexity == doctest::Approx(3.6505).epsilon(0.0003));
}
