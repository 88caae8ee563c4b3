#include "support.hpp"

#include <lolcats/eval/tasks/commonsense.hpp>
#include <lolcats/eval/tasks/mmlu.hpp>
#include <lolcats/eval/tasks/prompts.hpp>
#include <lolcats/tokenizer/llama2c_file.hpp>

using namespace lolcats;

// The ids are those of Python's sentencepiece over Llama 2's tokenizer.model, BOS in front of both texts, for the prompts
// as the harness spells them.
TEST_CASE("golden tokens of each task, by Llama 2's tokenizer") {
  const auto data = tasks_test::real_data();
  if (!data) return;
  const auto tokenizer = read_llama2c_tokenizer(*data / "tokenizers" / "llama2" / "tokenizer.bin", 32000);
  CHECK(tokenizer.adds_bos());
  const tasks_test::Folder folder("golden-tokens");
  folder.write("piqa/valid.jsonl", R"({"goal": "Cool a pan", "sol1": "Use water ", "sol2": "Use oil", "label": 0})");
  folder.write("arc/easy/test.jsonl",
               R"({"question": {"stem": "Why is the sky blue?", "choices": [{"text": "light scatters", "label": "A"}, )"
               R"({"text": "paint", "label": "B"}]}, "answerKey": "A"})");
  folder.write("hellaswag/hellaswag_val.jsonl",
               R"({"activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "HE", )"
               R"("label": 0, "endings": ["is [step] up.", "b", "c", "d"]})");
  folder.write("winogrande/dev.jsonl",
               R"({"sentence": "Ann met Eve and _ smiled.", "option1": "Ann", "option2": "Eve", "answer": "2"})");
  folder.write("mmlu/test/old_maps_test.csv", "Where?,here,there,up,down,C\n");
  folder.write("mmlu/dev/old_maps_dev.csv", "When?,now,then,1,2,B\n");
  using Tokens = std::vector<Index>;
  struct Golden {
    const char* task;
    std::size_t choice;
    Tokens context, continuation;
  };
  const std::vector<Golden> goldens = {
      {"piqa", 0, {1, 894, 29901, 315, 1507, 263, 7243, 13, 22550, 29901}, {4803, 4094, 29871}},
      {"arc_easy", 0, {1, 894, 29901, 3750, 338, 278, 14744, 7254, 29973, 13, 22550, 29901}, {3578, 885, 271, 2153}},
      {"hellaswag",
       0,
       {1, 1528, 974, 528, 292, 280, 28744, 29901, 319, 767, 338, 16246, 373, 263, 17526, 29889, 940},
       {338, 701, 29889}},
      {"winogrande", 1, {1, 8081, 1539, 382, 345, 322, 382, 345}, {25156, 29889}},
      {"mmlu",
       2,
       {1,    450,   1494,  526,   2999,  7348,  5155,  313,   2541,  6089,  29897, 1048,  2030,  11053, 29889, 13,
        13,   10401, 29973, 13,    29909, 29889, 1286,  13,    29933, 29889, 769,   13,    29907, 29889, 29871, 29896,
        13,   29928, 29889, 29871, 29906, 13,    22550, 29901, 350,   13,    13,    11921, 29973, 13,    29909, 29889,
        1244, 13,    29933, 29889, 727,   13,    29907, 29889, 701,   13,    29928, 29889, 1623,  13,    22550, 29901},
       {315}},
  };
  for (const Golden& golden : goldens) {
    CAPTURE(golden.task);
    const bool mmlu = std::string(golden.task) == "mmlu";
    const Benchmark task = mmlu ? read_mmlu_subjects(folder.path)[0] : read_commonsense(golden.task, folder.path);
    const Prompt prompt = make_prompts(task, harness, mmlu ? 1 : 0)[0].prompts[golden.choice];
    EncodedPrompt got = encode_prompt({tokenizer, true}, prompt);
    CHECK(got.tokens.context == golden.context);
    CHECK(got.tokens.continuation == golden.continuation);
    got = encode_prompt({tokenizer, false}, prompt);  // as in 2023
    CHECK(got.tokens.context == Tokens(golden.context.begin() + 1, golden.context.end()));
    CHECK(got.tokens.continuation == golden.continuation);
  }
}
