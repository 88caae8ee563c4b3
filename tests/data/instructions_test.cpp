#include <doctest/doctest.h>
#include <lolcats/data/instructions.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

using lolcats::alpaca_prompt, lolcats::DataError, lolcats::FormatError, lolcats::parse_alpaca;

TEST_CASE("prompts with and without a context") {
  CHECK(alpaca_prompt("Add.") ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Response:\n");
  CHECK(alpaca_prompt("Add.", "1 2") ==
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n"
        "### Response:\n");
}

TEST_CASE("the loss falls on the answer and the end token alone") {
  const lolcats::Sample sample = lolcats::alpaca_sample({1, 5, 6}, {7, 8}, 2);
  CHECK(sample == lolcats::Sample{{1, 5, 6, 7, 8, 2}, {-100, -100, -100, 7, 8, 2}});
}

TEST_CASE("records without an answer are left out, and words for no context are none") {
  const auto records = parse_alpaca(R"([
    {"instruction": "a", "input": "x", "output": "1"},
    {"instruction": "b", "input": "Noinput", "output": "2"},
    {"instruction": "c", "input": "<no input>.", "output": "3"},
    {"instruction": "d", "input": "No input required", "output": "No Output"},
    {"instruction": "e", "input": "", "output": "<nooutput>"},
    {"instruction": "f", "output": " "},
    {"instruction": "g", "input": "no input file", "output": "4"},
    {"instruction": "h", "output": "5"}])");
  std::string names, contexts;
  for (const auto& record : records) {
    names += record.instruction;
    contexts += record.context + "|";
  }
  CHECK(names == "abcdgh");
  CHECK(contexts == "x||||no input file||");
}

TEST_CASE("json that holds no instructions is refused") {
  CHECK_THROWS_AS(parse_alpaca(""), FormatError);
  CHECK_THROWS_AS(parse_alpaca("[{]"), FormatError);
  CHECK_THROWS_AS(parse_alpaca("{}"), FormatError);
  CHECK_THROWS_AS(parse_alpaca("[1]"), FormatError);
  CHECK_THROWS_WITH_AS(parse_alpaca(R"([{"instruction": "a"}])", "x.json"),
                       "x.json: record 0: field 'output' is missing, expected a string", FormatError);
  CHECK_THROWS_AS(parse_alpaca(R"([{"instruction": 7, "output": "a"}])"), FormatError);
  CHECK_THROWS_AS(parse_alpaca(R"([{"instruction": "a", "input": [], "output": "a"}])"), FormatError);
  CHECK_THROWS_AS(parse_alpaca("[]"), DataError);
  CHECK_THROWS_AS(lolcats::read_alpaca("/no/such/file"), lolcats::FileError);
}

TEST_CASE("real records") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const auto records = lolcats::read_alpaca(std::filesystem::path(root) / "alpaca/alpaca_5000.json");
  CHECK(records.size() == 4996);  // 5,000 less two "<nooutput>" and two empty answers
  CHECK(std::ranges::none_of(records, [](const auto& r) { return r.context == "Noinput" || r.answer.empty(); }));
}
